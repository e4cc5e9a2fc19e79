import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { canonicalJson } from './canonical-json.js';
import {
  createIdentity,
  createKeyPair,
  loadKeyFile,
  loadOrCreateKeyFile,
  signDocument,
  verifyDocument,
} from './keys.js';

test('a document verifies whatever the order of its fields, and nothing altered does', () => {
  const { privateKey, publicKey } = createKeyPair();
  const document = { kind: 'promote', number: 7, payload: { b: [1, 'two', null], a: true } };
  const signature = signDocument(document, privateKey);
  const reordered = { payload: { a: true, b: [1, 'two', null] }, number: 7, kind: 'promote' };
  expect(verifyDocument(reordered, signature, publicKey)).toBe(true);
  expect(verifyDocument({ ...document, number: 8 }, signature, publicKey)).toBe(false);
  expect(verifyDocument(document, signature, createKeyPair().publicKey)).toBe(false);
  expect(verifyDocument(document, 'no signature', publicKey)).toBe(false);
  expect(verifyDocument(document, signature, 'no key')).toBe(false);
});

test('canonical JSON sorts keys, leaves undefined out and refuses what JSON cannot say', () => {
  expect(canonicalJson({ b: 1, a: [{ d: undefined, c: 'é"' }], A: 1.5 })).toBe('{"A":1.5,"a":[{"c":"é\\""}],"b":1}');
  for (const value of [NaN, Infinity, undefined, 1n, new Date(), { f: () => 1 }, [undefined]]) {
    expect(() => canonicalJson(value)).toThrow(TypeError);
  }
});

test("a key file is its owner's alone, and is not used once others can read it", async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mainstay-keys-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'agent.key');
  const made = await loadOrCreateKeyFile(path);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await loadOrCreateKeyFile(path)).fingerprint).toBe(made.fingerprint);
  expect(await readFile(path, 'utf8')).toContain('BEGIN PRIVATE KEY');
  expect(createIdentity().fingerprint).not.toBe(made.fingerprint);
  await chmod(path, 0o640);
  await expect(loadKeyFile(path)).rejects.toMatchObject({ code: 'link.key-file-exposed' });
});

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { childEnvironment } from '#libs/platform/config';
import type { IssuedCredential } from '../index.js';
import { VaultUnderTest } from './testing/vault-under-test.js';

const run = promisify(execFile);
const MINIMUM_AGE_SECONDS = 3_600;

let vault: VaultUnderTest;
let home: string;
let repository: { readonly id: string; readonly credential: IssuedCredential };

const restic = async (as: IssuedCredential, ...words: string[]) => {
  const address = `rest:http://${as.credentialId}:${as.secret}@127.0.0.1:${vault.service.port}/${repository.id}/`;
  const env = childEnvironment({ HOME: home, RESTIC_PASSWORD: 'password', RESTIC_REPOSITORY: address });
  return run('restic', ['--no-cache', ...words], { env, maxBuffer: 64 * 2 ** 20 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
};
const files = async (type: string): Promise<string[]> => {
  const base = path.join(vault.directory, repository.id, type);
  const entries = await readdir(base, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
};
const age = async (types: readonly string[]): Promise<void> => {
  const longAgo = new Date(Date.now() - (MINIMUM_AGE_SECONDS + 100) * 1_000);
  for (const type of types) for (const file of await files(type)) await utimes(file, longAgo, longAgo);
};
const backup = async (name: string, ...contents: Buffer[]): Promise<string> => {
  const folder = await mkdtemp(path.join(home, `${name}-`));
  for (const [number, content] of contents.entries()) await writeFile(path.join(folder, String(number)), content);
  const { stdout } = await restic(repository.credential, 'backup', '--json', folder);
  const summary = stdout.trim().split('\n').at(-1) ?? '{}';
  return (JSON.parse(summary) as { snapshot_id: string }).snapshot_id;
};

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-prune-'));
  vault = await VaultUnderTest.start();
  repository = await vault.repository('append', { minimumAgeSeconds: MINIMUM_AGE_SECONDS });
  expect(await restic(repository.credential, 'init')).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await vault.stop();
  await rm(home, { recursive: true, force: true });
});

test('prune ends well where packs must stay: they are retained, indexes follow, and nothing is lost', async () => {
  const shared = randomBytes(2 * 2 ** 20);
  const old = await backup('old', randomBytes(6 * 2 ** 20), shared);
  await age(['snapshots']);
  // Its own packs, which are young, and one of the old run's that only `shared` is used of.
  await backup('new', shared, randomBytes(5 * 2 ** 20));
  const before = await files('data');
  const indexes = await files('index');
  const pruner = await vault.repositories.issue(repository.id, 'maintain');
  await vault.repositories.maintain(repository.id, pruner.credentialId, 600);
  expect(await restic(pruner, 'forget', old)).toMatchObject({ code: 0 });
  const first = await restic(pruner, 'prune', '--max-unused', '0');
  expect(first).toMatchObject({ code: 0 });
  expect(first.stderr).toContain('unable to remove data/');
  // All of the packs are young: each is still there, and so are the repacked ones.
  const retained = await files('data');
  expect(retained).toEqual(expect.arrayContaining(before));
  expect(retained.length).toBeGreaterThan(before.length);
  // The indexes were as young, and name packs that are no longer used: they gave way to another one.
  expect((await files('index')).filter((file) => indexes.includes(file))).toEqual([]);
  expect((await restic(repository.credential, 'check', '--read-data', '--no-lock')).code).toBe(0);
  // The next day: what no index names any more is old enough, and goes.
  await vault.repositories.endMaintenance(repository.id, pruner.credentialId);
  await backup('newer', randomBytes(100_000));
  await vault.repositories.maintain(repository.id, pruner.credentialId, 600);
  await age(['data']);
  expect(await restic(pruner, 'prune', '--max-unused', '0')).toMatchObject({ code: 0 });
  const left = await files('data');
  expect(before.filter((file) => left.includes(file)).length).toBeLessThan(before.length);
  expect((await restic(repository.credential, 'check', '--read-data', '--no-lock')).code).toBe(0);
  await vault.repositories.endMaintenance(repository.id, pruner.credentialId);
  const sizes = await Promise.all((await files('data')).map(async (file) => (await stat(file)).size));
  expect(sizes.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(8.5 * 2 ** 20);
});

test('an index goes only under a lease, and not under a hold', async () => {
  const [index] = (await files('index')).map((file) => path.basename(file));
  const target = `/${repository.id}/index/${index}`;
  const pruner = await vault.repositories.issue(repository.id, 'maintain');
  const removal = async () => (await vault.ask('DELETE', target, { as: pruner })).status;
  expect(await removal()).toBe(403);
  await vault.repositories.maintain(repository.id, pruner.credentialId, 600);
  await vault.repositories.hold(repository.id, 'litigation');
  expect(await removal()).toBe(403);
  await vault.repositories.hold(repository.id, null);
  expect(await removal()).toBe(200);
  // Nothing is lost with it: the packs say what they hold.
  expect((await restic(pruner, 'repair', 'index')).code).toBe(0);
  expect((await restic(repository.credential, 'check', '--read-data', '--no-lock')).code).toBe(0);
});

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { link, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { childEnvironment } from '#libs/platform/config';
import type { IssuedCredential } from '../index.js';
import { LocalStorage } from './local-storage.js';
import { OBJECT_TYPES } from './object-names.js';
import { basic, idOf, VaultUnderTest } from './testing/vault-under-test.js';

const run = promisify(execFile);
const EVER = new Date(0);

let vault: VaultUnderTest;
let home: string;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-removed-'));
  vault = await VaultUnderTest.start();
});
afterAll(async () => {
  await vault.stop();
  await rm(home, { recursive: true, force: true });
});

/** A credential of an agent's care in wrong hands: it has the role and the lease. */
async function stolen(repositoryId: string, from = vault): Promise<IssuedCredential> {
  const credential = await from.repositories.issue(repositoryId, 'maintain');
  await from.repositories.maintain(repositoryId, credential.credentialId, 3_600);
  return credential;
}

async function list(id: string, as: IssuedCredential, type: string): Promise<string[]> {
  const { body } = await vault.ask('GET', `/${id}/${type}/`, { as });
  return (JSON.parse(body.toString()) as string[]).sort();
}

test('a stolen credential removes all that is old enough, and all of it comes back and is whole', async () => {
  const { id, credential } = await vault.repository('append', { minimumAgeSeconds: 0 });
  const source = path.join(home, 'file');
  await writeFile(source, randomBytes(3_000_000));
  const restic = (as: IssuedCredential, ...words: string[]) => {
    const address = `rest:http://${as.credentialId}:${as.secret}@127.0.0.1:${vault.service.port}/${id}/`;
    const env = childEnvironment({ HOME: home, RESTIC_PASSWORD: 'password', RESTIC_REPOSITORY: address });
    return run('restic', ['--no-cache', ...words], { env, maxBuffer: 64 * 2 ** 20 });
  };
  await restic(credential, 'init');
  await restic(credential, 'backup', source);
  const before = await vault.service.storedBytes(id);
  const thief = await stolen(id);
  const all = { config: ['config'] } as Record<string, string[]>;
  for (const type of OBJECT_TYPES) all[type] = (await list(id, thief, type)).map((each) => `${type}/${each}`);
  const began = new Date();
  for (const name of Object.values(all).flat()) {
    expect(await vault.status('DELETE', `/${id}/${name}`, { as: thief })).toBe(200);
    expect(await vault.status('HEAD', `/${id}/${name}`, { as: thief })).toBe(404);
    // Sent twice, as restic does when an answer was lost.
    expect(await vault.status('DELETE', `/${id}/${name}`, { as: thief })).toBe(200);
  }
  expect(await vault.service.storedBytes(id)).toBe(before);
  await expect(restic(credential, 'snapshots')).rejects.toThrow();
  // What was removed before that moment is not meant.
  expect(await vault.service.removed.bringBack(id, new Date(Date.now() + 60_000))).toEqual([]);
  const back = await vault.service.removed.bringBack(id, began);
  expect(back).toHaveLength(Object.values(all).flat().length);
  expect(await vault.service.removed.bringBack(id, began)).toEqual([]);
  const { stdout } = await restic(credential, 'check', '--read-data', '--no-lock');
  expect(stdout).toContain('no errors were found');
  expect(await vault.service.storedBytes(id)).toBe(before);
});

test('what was removed counts until it goes for good, and what was sent again in between stays', async () => {
  const { id, as, of } = await vault.opened('append', { minimumAgeSeconds: 0, quotaBytes: 10_000 });
  const [one, two] = [randomBytes(6_000), randomBytes(3_000)];
  for (const body of [one, two]) expect(await vault.status('POST', of(`data/${idOf(body)}`), { as, body })).toBe(200);
  const thief = await stolen(id);
  for (const body of [one, two]) await vault.status('DELETE', of(`data/${idOf(body)}`), { as: thief });
  const more = randomBytes(2_000);
  expect(await vault.status('POST', of(`data/${idOf(more)}`), { as, body: more })).toBe(507);
  // A backup of the same files sends the same pack: it is new, and the quota's to allow.
  await vault.repositories.ensure({
    repositoryId: id,
    tenantId: (await tenantOf(id)) ?? '',
    quotaBytes: 20_000,
    minimumAgeSeconds: 0,
  });
  expect(await vault.status('POST', of(`data/${idOf(two)}`), { as, body: two })).toBe(200);
  expect(await vault.service.storedBytes(id)).toBe(12_000);
  expect(await vault.service.removed.since(id, EVER)).toEqual({ objects: 2, bytes: 9_000 });
  expect((await vault.service.removed.bringBack(id, EVER)).map((name) => name.id)).toEqual([idOf(one)]);
  expect(await vault.service.removed.discardBefore(id, new Date(0))).toBe(0);
  expect(await vault.service.removed.discardBefore(id, new Date(Date.now() + 1_000))).toBe(1);
  expect(await vault.service.storedBytes(id)).toBe(9_000);
  expect((await vault.ask('GET', of(`data/${idOf(two)}`), { as })).body.equals(two)).toBe(true);
});

test('killed with -9 in the midst of removing or of bringing back, the vault has each object in one place at least', async () => {
  const { id, as, of } = await vault.opened('append', { minimumAgeSeconds: 0 });
  const names: string[] = [];
  for (let number = 0; number < 120; number += 1) {
    const body = Buffer.from(`pack ${number}`);
    names.push(idOf(body));
    expect(await vault.status('POST', of(`data/${idOf(body)}`), { as, body })).toBe(200);
  }
  const thief = await stolen(id);
  const options = JSON.stringify({ directory: vault.directory, databaseUrl: vault.databaseUrl });
  const program = path.resolve('dist/libs/archive/site/vault/testing/vault-process.js');
  const child = spawn(process.execPath, [program, options], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: childEnvironment({}),
  });
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  const gone = once(child, 'exit');
  let removed = 0;
  const waiting = [...names];
  const remove = async (): Promise<void> => {
    for (let name = waiting.pop(); name !== undefined && child.exitCode === null; name = waiting.pop()) {
      if (!(await deleted(Number(port.toString()), of(`data/${name}`), thief))) return;
      removed += 1;
      if (removed === 40) child.kill('SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: 6 }, remove));
  await gone;
  expect(removed).toBeGreaterThanOrEqual(40);
  const aside = path.join(vault.directory, '.laid-aside', id);
  const [first = ''] = await readdir(aside);
  // As a process leaves it that dies between giving the name back and taking the other one away.
  const returned = first.split('.').at(-1) ?? '';
  await link(path.join(aside, first), path.join(vault.directory, id, 'data', returned.slice(0, 2), returned));
  await vault.service.removed.bringBack(id, EVER);
  expect(await list(id, as, 'data')).toEqual([...names].sort());
});

test('a removal that had passed its checks when removals were undone is undone too', async () => {
  const reached = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  class SlowStorage extends LocalStorage {
    override async layAside(...removed: Parameters<LocalStorage['layAside']>): Promise<boolean> {
      reached.resolve();
      await goOn.promise;
      return super.layAside(...removed);
    }
  }
  const slow = await VaultUnderTest.start({ storage: new SlowStorage(path.join(home, 'slow')) });
  try {
    const { id, as, of } = await slow.opened('append', { minimumAgeSeconds: 0 });
    const body = randomBytes(1_000);
    const name = of(`data/${idOf(body)}`);
    expect(await slow.status('POST', name, { as, body })).toBe(200);
    const removing = slow.status('DELETE', name, { as: await stolen(id, slow) });
    await reached.promise;
    const undo = async () => {
      const undoing = slow.service.removed.bringBack(id, EVER);
      // As long as a look at what was laid aside takes, and longer.
      for (let turn = 0; turn < 100; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      goOn.resolve();
      return undoing;
    };
    const back = await slow.repositories.withoutRemovals(id, undo, () => new Error('not kept up'));
    expect(await removing).toBe(200);
    expect(back).toEqual([{ type: 'data', id: idOf(body) }]);
    expect(await slow.status('GET', name, { as })).toBe(200);
  } finally {
    goOn.resolve();
    await slow.stop();
  }
});

async function tenantOf(id: string): Promise<string | undefined> {
  const [row] = await vault.rows<{ tenant: string }>(
    `SELECT tenant_id AS tenant FROM vault_repository WHERE repository_id = $1`,
    [id],
  );
  return row?.tenant;
}

function deleted(port: number, target: string, as: IssuedCredential): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = { authorization: basic(as) };
    const request = http.request({ host: '127.0.0.1', port, method: 'DELETE', path: target, headers }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode === 200));
    });
    request.once('error', () => resolve(false));
    request.end();
  });
}

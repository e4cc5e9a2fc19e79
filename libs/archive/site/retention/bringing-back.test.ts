import { randomUUID } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import https from 'node:https';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PointReport } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { VaultRepositories, VaultService } from '../index.js';
import { BringBackHandler } from '../orders/bring-back.order.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { BringingBack } from './bringing-back.js';
import { RetentionService } from './retention.service.js';

const signal = new AbortController().signal;
const DAY_MS = 86_400_000;
let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site.stop());

const tenantOf = async (archiveId: string): Promise<string> => {
  const [row] = await site.rows<{ id: string }>(`SELECT tenant_id AS id FROM archive WHERE archive_id = $1`, [
    archiveId,
  ]);
  return row?.id ?? '';
};
async function bringBack(archiveId: string, since: Date, keys?: boolean): Promise<void> {
  const payload = { archiveId, workloadId: randomUUID(), since: since.toISOString(), keys };
  const order = { id: randomUUID(), number: 1, tenantId: await tenantOf(archiveId), payload };
  await site.get(BringBackHandler).carryOut(order as never);
}
const aside = (archiveId: string): Promise<string[]> =>
  readdir(path.join(site.directory, 'vault', '.laid-aside', archiveId));
async function points(archiveId: string): Promise<Record<string, string | null>> {
  const rows = await site.rows<{ id: string; why: string | null }>(
    `SELECT snapshot_id AS id, forgotten_because AS why FROM archive_point WHERE archive_id = $1`,
    [archiveId],
  );
  return Object.fromEntries(rows.map(({ id, why }) => [id, why]));
}

test('whoever removes everything with a stolen credential is shut out, and all points are there again', async () => {
  const archiveId = await site.archive();
  const [one, two] = [
    await site.backup(archiveId, await site.folder({ file: 'one'.repeat(10_000) })),
    await site.backup(archiveId, await site.folder({ file: 'two'.repeat(10_000) })),
  ];
  await site.age(archiveId, 40);
  const began = new Date();
  const vault = site.get(VaultService);
  const repositories = site.get(VaultRepositories);
  const { credentialId, secret } = await repositories.issue(archiveId, 'maintain');
  await repositories.maintain(archiveId, credentialId, 3_600);
  const door = await vault.localPort;
  const authorization = `Basic ${Buffer.from(`${credentialId}:${secret}`).toString('base64')}`;
  const ask = (method: string, name: string): Promise<number> =>
    asked({ port: door, path: `/${archiveId}/${name}`, method, headers: { authorization } });
  for (const type of ['snapshots', 'index', 'data', 'keys']) {
    for (const { id } of await site.objects(archiveId, type)) expect(await ask('DELETE', `${type}/${id}`)).toBe(200);
  }
  await repositories.endMaintenance(archiveId, credentialId);
  await expect(site.get(RetentionService).tend(archiveId, signal)).rejects.toThrow('no key found');
  expect(await points(archiveId)).toEqual({ [one]: 'retention', [two]: 'missing' });
  await bringBack(archiveId, began, true);
  expect(await ask('HEAD', 'config')).toBe(401);
  expect(await points(archiveId)).toEqual({ [one]: null, [two]: null });
  const told = await site.results<PointReport>('archive.point');
  for (const id of [one, two]) {
    expect(told.findLast(({ snapshotId }) => snapshotId === id)?.forgottenAt).toBeNull();
  }
  await site.check(archiveId);
});

test('until all is back and told, nothing else may begin to remove', async () => {
  const archiveId = await site.archive();
  const point = await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  const began = new Date();
  const { objects, removed } = site.get(VaultService);
  await removed.layAside(archiveId, { type: 'snapshots', id: point }, new Date());
  const gone = `UPDATE archive_point SET forgotten_at = now(), forgotten_because = 'missing' WHERE snapshot_id = $1`;
  await site.rows(gone, [point]);
  const repositories = site.get(VaultRepositories);
  let bringing: Promise<void> | undefined;
  // It comes as far as to write down that the point is there.
  await site.get(SiteUnitOfWork).run(async (tx) => {
    await tx.query(`SELECT FROM archive_point WHERE snapshot_id = $1 FOR UPDATE`, [point]);
    bringing = bringBack(archiveId, began);
    await expect.poll(() => objects.stat(archiveId, { type: 'snapshots', id: point })).toBeDefined();
    const { credentialId } = await repositories.issue(archiveId, 'maintain');
    await expect(repositories.maintain(archiveId, credentialId, 60)).rejects.toThrow('in use');
  });
  await bringing;
  expect(await points(archiveId)).toEqual({ [point]: null });
  const { credentialId } = await repositories.issue(archiveId, 'maintain');
  await repositories.maintain(archiveId, credentialId, 60);
});

test('retention and prune lay aside, and it goes for good days later, but not under a hold', async () => {
  const archiveId = await site.archive();
  const old = await site.backup(archiveId, await site.folder({ file: 'old'.repeat(50_000) }));
  await site.age(archiveId, 40);
  const newest = await site.backup(archiveId, await site.folder({ file: 'new'.repeat(50_000) }));
  const began = new Date();
  await site.get(RetentionService).tend(archiveId, signal);
  expect(await points(archiveId)).toEqual({ [old]: 'retention', [newest]: null });
  expect((await aside(archiveId)).map((name) => name.split('.')[1])).toContain('data');
  await bringBack(archiveId, began);
  expect(await points(archiveId)).toEqual({ [old]: null, [newest]: null });
  await site.check(archiveId);
  // Retention stands as it did, so it lets go of it again.
  await site.rows(`UPDATE archive SET pruned_at = NULL WHERE archive_id = $1`, [archiveId]);
  await site.get(RetentionService).tend(archiveId, signal);
  const before = await aside(archiveId);
  expect(before.length).toBeGreaterThan(0);
  const sweep = (days: number) => site.get(BringingBack).sweep(new Date(Date.now() + days * DAY_MS), signal);
  await sweep(6);
  expect(await aside(archiveId)).toEqual(before);
  await site.get(VaultRepositories).hold(archiveId, 'litigation');
  await sweep(8);
  expect(await aside(archiveId)).toEqual(before);
  await site.get(VaultRepositories).hold(archiveId, null);
  await sweep(8);
  expect(await aside(archiveId)).toEqual([]);
  await site.check(archiveId);
});

test('a key that was removed stays gone, unless people ask for keys too', async () => {
  const archiveId = await site.archive();
  const [key] = await site.objects(archiveId, 'keys');
  const name = { type: 'keys', id: key?.id ?? '' } as const;
  const { removed, objects } = site.get(VaultService);
  const back = async () => (await objects.stat(archiveId, name)) !== undefined;
  await removed.layAside(archiveId, name, new Date());
  await bringBack(archiveId, new Date(0));
  expect(await back()).toBe(false);
  // Also one that a rotation has replaced: the new password may be lost.
  await site.rows(`UPDATE archive SET keys_rotated_at = now() + interval '1 hour' WHERE archive_id = $1`, [archiveId]);
  await bringBack(archiveId, new Date(0), true);
  expect(await back()).toBe(true);
});

test('of a copy that this site keeps for another one, what that one removed comes back, but its keys', async () => {
  const [repositoryId, tenantId] = [randomUUID(), randomUUID()];
  const repositories = site.get(VaultRepositories);
  await repositories.ensure({ repositoryId, tenantId, quotaBytes: null, minimumAgeSeconds: 0 });
  const { credentialId, secret } = await repositories.issue(repositoryId, 'maintain');
  await repositories.maintain(repositoryId, credentialId, 3_600);
  const headers = { authorization: `Basic ${Buffer.from(`${credentialId}:${secret}`).toString('base64')}` };
  const port = await site.get(VaultService).localPort;
  expect(await asked({ port, path: `/${repositoryId}/?create=true`, method: 'POST', headers })).toBe(200);
  const name = { type: 'data', id: 'ab'.repeat(32) } as const;
  await writeFile(path.join(site.directory, 'vault', repositoryId, 'data', 'ab', name.id), 'a pack');
  expect(await asked({ port, path: `/${repositoryId}/data/${name.id}`, method: 'DELETE', headers })).toBe(200);
  const { objects, removed } = site.get(VaultService);
  expect(await objects.stat(repositoryId, name)).toBeUndefined();
  const key = { type: 'keys', id: 'cd'.repeat(32) } as const;
  await writeFile(path.join(site.directory, 'vault', repositoryId, 'keys', key.id), 'a key');
  await removed.layAside(repositoryId, key, new Date());
  // What two people dropped at the first site is known by the order alone.
  const dropped = { type: 'snapshots', id: 'ef'.repeat(32) } as const;
  await writeFile(path.join(site.directory, 'vault', repositoryId, 'snapshots', dropped.id), 'a secret');
  await removed.layAside(repositoryId, dropped, new Date());
  await site.get(BringingBack).bringBack(repositoryId, tenantId, new Date(0), { dropped: [dropped.id] });
  expect(await objects.stat(repositoryId, dropped)).toBeUndefined();
  expect(await objects.stat(repositoryId, name)).toMatchObject({ bytes: 6 });
  expect(await objects.stat(repositoryId, key)).toBeUndefined();
  await site.get(BringingBack).bringBack(repositoryId, tenantId, new Date(0), { keys: true });
  expect(await objects.stat(repositoryId, key)).toMatchObject({ bytes: 5 });
});

test('what two people dropped stays gone, and nobody brings back what is another agency’s', async () => {
  const archiveId = await site.archive();
  const dropped = await site.backup(archiveId, await site.folder({ file: 'secret' }));
  await site.age(archiveId, 40);
  const kept = await site.backup(archiveId, await site.folder({ file: 'public' }));
  await site.rows(
    `INSERT INTO archive_drop (drop_id, archive_id, snapshot_id, asked, approved) VALUES ($1, $2, $3, 'one', 'two')`,
    [randomUUID(), archiveId, dropped],
  );
  const began = new Date();
  await site.get(RetentionService).tend(archiveId, signal);
  await bringBack(archiveId, began);
  expect(await points(archiveId)).toEqual({ [dropped]: 'two-people', [kept]: null });
  expect((await site.objects(archiveId, 'snapshots')).map(({ id }) => id)).toEqual([kept]);
  await expect(site.get(BringingBack).bringBack(archiveId, randomUUID(), began)).rejects.toThrow();
  await site.check(archiveId);
});

/** The authority is the test's own; restic itself checks it. */
function asked(options: https.RequestOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = https.request({ host: '127.0.0.1', rejectUnauthorized: false, agent: false, ...options });
    request.once('error', reject);
    request.once('response', (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode ?? 0));
    });
    request.end();
  });
}

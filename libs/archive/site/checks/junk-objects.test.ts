import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import https from 'node:https';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ArchiveReport } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Tellings } from '../facts/tellings.js';
import { NEVER_PROVEN, Points, VaultRepositories, VaultService } from '../index.js';
import { BringingBack } from '../retention/bringing-back.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { JunkObjects } from './junk-objects.js';

const signal = new AbortController().signal;
let site: CareUnderTest;
beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site.stop());

/** Whatever has the right hash is taken from a credential that may add. */
async function add(archiveId: string, type: string, bytes: Buffer): Promise<string> {
  const id = createHash('sha256').update(bytes).digest('hex');
  const { credentialId, secret } = await site.get(VaultRepositories).issue(archiveId, 'append');
  const authorization = `Basic ${Buffer.from(`${credentialId}:${secret}`).toString('base64')}`;
  const port = await site.get(VaultService).localPort;
  const status = await new Promise((resolve, reject) => {
    const headers = { authorization, 'content-length': bytes.length };
    const target = { host: '127.0.0.1', port, path: `/${archiveId}/${type}/${id}`, method: 'POST', headers };
    const request = https.request({ ...target, rejectUnauthorized: false, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.once('error', reject);
    request.end(bytes);
  });
  expect(status).toBe(200);
  return id;
}
const ids = async (archiveId: string, type: string): Promise<string[]> =>
  (await site.objects(archiveId, type)).map(({ id }) => id);

test('junk among the indexes and snapshots, long or short, is found by what fails, laid aside and told', async () => {
  const archiveId = await site.archive();
  const point = await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  const [index] = await ids(archiveId, 'index');
  const junk = site.get(JunkObjects);
  expect(await junk.due(10)).toEqual([]);
  // restic does not even say of the short ones that they are none: it panics.
  await add(archiveId, 'index', randomBytes(3_000));
  await add(archiveId, 'index', Buffer.from('short'));
  await add(archiveId, 'snapshots', randomBytes(500));
  await expect(site.check(archiveId)).rejects.toThrow();
  await site.rows(
    `INSERT INTO archive_check (archive_id, part, of, checked_at, bytes, failure) VALUES ($1, 1, 1, now(), 0, '{"code":"archive.restic"}')`,
    [archiveId],
  );
  expect(await junk.due(10)).toEqual([archiveId]);
  await junk.look(archiveId, signal);
  expect(await junk.due(10)).toEqual([]);
  expect(await ids(archiveId, 'index')).toEqual([index]);
  expect(await ids(archiveId, 'snapshots')).toEqual([point]);
  // Nor does it come back with what was removed.
  const [row] = await site.rows<{ id: string }>(`SELECT tenant_id AS id FROM archive WHERE archive_id = $1`, [
    archiveId,
  ]);
  await site.get(BringingBack).bringBack(archiveId, row?.id ?? '', new Date(0));
  expect(await ids(archiveId, 'index')).toEqual([index]);
  expect(await ids(archiveId, 'snapshots')).toEqual([point]);
  await site.check(archiveId);
  await site.backup(archiveId, await site.folder({ file: 'another' }));
  await site.rows(`DELETE FROM archive_check WHERE archive_id = $1`, [archiveId]);
  await site.get(Tellings).look(archiveId, new Date());
  const told = (await site.results<ArchiveReport>('archive.state')).at(-1);
  expect(told?.alarms).toEqual([expect.objectContaining({ code: 'junk-objects' })]);
  expect(told?.alarms?.[0]?.what).toContain('3 objects');
  expect(await site.get(VaultService).removed.since(archiveId, new Date(0))).toMatchObject({ objects: 3 });
  await add(archiveId, 'index', randomBytes(3_000));
  await junk.look(archiveId, signal);
  await site.get(Tellings).look(archiveId, new Date());
  expect((await site.results<ArchiveReport>('archive.state')).at(-1)?.alarms?.[0]?.what).toContain('4 objects');
  await site.get(Tellings).look(archiveId, new Date(Date.now() + 8 * 86_400_000));
  expect((await site.results<ArchiveReport>('archive.state')).at(-1)?.alarms).not.toContainEqual(
    expect.objectContaining({ code: 'junk-objects' }),
  );
});

test('junk whose laying aside broke off is laid aside by the next look, with all that was known of it', async () => {
  const archiveId = await site.archive();
  await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  const snapshotId = await add(archiveId, 'snapshots', randomBytes(500));
  const claims = { part: null, claimedAt: new Date(), clockDiffers: false, files: null, bytes: null };
  const point = { archiveId, snapshotId, runId: null, ...claims, bytesAddedPacked: null, change: null };
  await site.get(SiteUnitOfWork).run((tx) => site.get(Points).upsert(tx, point));
  const ofPoint = `archive_point SET proof = CASE WHEN $2 THEN '{}' ELSE '${JSON.stringify(NEVER_PROVEN)}'::jsonb END`;
  const breakOff = (broken: boolean) =>
    site.rows(`UPDATE ${ofPoint} WHERE snapshot_id = $1 RETURNING 1`, [snapshotId, broken]);
  await breakOff(true);
  await expect(site.get(JunkObjects).look(archiveId, signal)).rejects.toThrow();
  await breakOff(false);
  await site.get(JunkObjects).look(archiveId, signal);
  expect(await ids(archiveId, 'snapshots')).not.toContain(snapshotId);
  expect(await site.rows(`SELECT FROM vault_snapshot WHERE snapshot_id = $1`, [snapshotId])).toEqual([]);
  const known = await site.rows(`SELECT forgotten_because AS because FROM archive_point WHERE snapshot_id = $1`, [
    snapshotId,
  ]);
  expect(known).toEqual([{ because: 'missing' }]);
});

test('what is only damaged, or cannot be read for another reason, stays where it is', async () => {
  const archiveId = await site.archive();
  await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  const [index] = await ids(archiveId, 'index');
  await site.rows(`UPDATE archive_key SET sealed = sealed || '\\x00' WHERE archive_id = $1`, [archiveId]);
  await expect(site.get(JunkObjects).look(archiveId, signal)).rejects.toThrow();
  expect(await ids(archiveId, 'index')).toEqual([index]);
});

test.each([
  ['has another bit', (config: Buffer) => config.fill((config[40] ?? 0) ^ 1, 40, 41)],
  ['was cut', (config: Buffer) => config.subarray(0, 10)],
])('an archive whose config %s loses nothing by it, and is whole again with the config', async (_, harm) => {
  const archiveId = await site.archive();
  const point = await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  const [index] = await ids(archiveId, 'index');
  const config = path.join(site.directory, 'vault', archiveId, 'config');
  const right = await readFile(config);
  await writeFile(config, harm(Buffer.from(right)));
  await expect(site.get(JunkObjects).look(archiveId, signal)).rejects.toThrow('restic failed');
  expect(await ids(archiveId, 'index')).toEqual([index]);
  expect(await ids(archiveId, 'snapshots')).toEqual([point]);
  expect(await site.get(VaultService).removed.since(archiveId, new Date(0))).toMatchObject({ objects: 0 });
  await writeFile(config, right);
  await site.check(archiveId);
});

import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ArchiveReport } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { TwoSites } from '../testing/two-sites.js';
import { Copies } from './copies.service.js';
import { CopyAccesses } from './copy-access.handler.js';

let sites: TwoSites;

beforeAll(async () => {
  sites = await TwoSites.start();
});
afterAll(() => sites.stop());

const replicate = (archiveId: string, signal = new AbortController().signal) =>
  sites.first.get(Copies).replicate(archiveId, signal);
const ids = async (site: 'first' | 'second', archiveId: string) =>
  (await sites[site].objects(archiveId))
    .map(({ id }) => id)
    .filter((id) => id !== 'locks')
    .sort();
const copyOf = async (archiveId: string) =>
  (await sites.first.results<ArchiveReport>('archive.state')).filter((report) => report.archiveId === archiveId).at(-1)
    ?.copy;
const backedUp = async (archiveId: string, bytes = 500_000) =>
  sites.first.backup(archiveId, await sites.first.folder({ file: randomBytes(bytes) }));
const lookedAt = (archiveId: string) =>
  sites.first.rows(`UPDATE archive_copy SET retry_at = NULL WHERE archive_id = $1`, [archiveId]);

describe('a second copy', () => {
  test('is all that is here, byte for byte, and says up to when', async () => {
    const archiveId = await sites.archive();
    await backedUp(archiveId);
    expect(await sites.first.get(Copies).due(10)).toContain(archiveId);
    await replicate(archiveId);
    expect(await ids('second', archiveId)).toEqual(await ids('first', archiveId));
    const copy = await copyOf(archiveId);
    expect(copy).toMatchObject({ missingObjects: 0, missingBytes: 0, failure: null });
    expect(copy?.completeUntil).not.toBeNull();
    expect(await sites.first.get(Copies).due(10)).not.toContain(archiveId);
    const second = await backedUp(archiveId);
    expect(await sites.first.get(Copies).due(10)).toContain(archiveId);
    await replicate(archiveId);
    const received = await sites.second.rows<{ id: string }>(
      `SELECT snapshot_id AS id FROM vault_snapshot WHERE repository_id = $1`,
      [archiveId],
    );
    expect(received.map(({ id }) => id)).toContain(second);
  });

  test('broken off, goes on where it was; and what is there can be restored at any moment', async () => {
    const archiveId = await sites.archive({ policy: { bandwidthBytesPerSecond: 1_000_000 } });
    for (let run = 0; run < 4; run += 1) await backedUp(archiveId, 1_500_000);
    const cut = new AbortController();
    const going = replicate(archiveId, cut.signal).then(
      () => 'ended',
      () => 'broke off',
    );
    await waitFor('some of it', async () => (await ids('second', archiveId).catch(() => [])).length >= 3, {
      timeoutMs: 30_000,
    });
    cut.abort(new Error('the site stops'));
    expect(await going).toBe('broke off');
    const [there, here] = [await ids('second', archiveId), await ids('first', archiveId)];
    expect(there.length).toBeLessThan(here.length);
    await sites.first.rows(`UPDATE archive SET policy = policy || '{"bandwidthBytesPerSecond":null}'`);
    await replicate(archiveId);
    expect(await ids('second', archiveId)).toEqual(here);
  });

  test('that cannot be reached says so, and is brought up to date afterwards', async () => {
    const archiveId = await sites.archive();
    await backedUp(archiveId);
    sites.cut();
    await replicate(archiveId);
    expect(await copyOf(archiveId)).toMatchObject({ completeUntil: null, failure: { code: 'archive.copy' } });
    expect(await sites.first.get(Copies).due(10)).not.toContain(archiveId);
    sites.join();
    await lookedAt(archiveId);
    expect(await sites.first.get(Copies).due(10)).toContain(archiveId);
    await replicate(archiveId);
    expect(await copyOf(archiveId)).toMatchObject({ missingObjects: 0, failure: null });
  });

  test('lets in the site whose copy it is, about its own workload, and nobody else', async () => {
    const archiveId = await sites.archive();
    const [row] = await sites.first.rows<{ workloadId: string }>(
      `SELECT workload_id AS "workloadId" FROM archive WHERE archive_id = $1`,
      [archiveId],
    );
    const workloadId = row?.workloadId ?? '';
    const give = (siteId: string, workload: string, archive: string) =>
      sites.second
        .get(CopyAccesses)
        .give({ siteId, workloadId: workload }, { workloadId: workload, archiveId: archive, role: 'append' });
    const refused = { code: 'copy.not-found' };
    await expect(give(randomUUID(), workloadId, archiveId)).rejects.toMatchObject(refused);
    await expect(give(sites.first.siteId, randomUUID(), archiveId)).rejects.toMatchObject(refused);
    await expect(give(sites.first.siteId, workloadId, randomUUID())).rejects.toMatchObject(refused);
    expect(await give(sites.first.siteId, workloadId, archiveId)).toMatchObject({ seconds: 21_600 });
  });
});

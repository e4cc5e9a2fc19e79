import { randomBytes, randomUUID } from 'node:crypto';
import { unlink, utimes } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ArchiveReport, archiveUsageResult, CopyAccess } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Archives } from '../archives.service.js';
import { Damages } from '../checks/damages.service.js';
import { RetentionService } from '../retention/retention.service.js';
import { TwoSites } from '../testing/two-sites.js';
import { EndArchiveHandler } from '../orders/archive.orders.js';
import { RepositoryKeys } from '../keys/repository-keys.js';
import { ArchiveReconciler } from '../reconciler.js';
import { Copies } from './copies.service.js';
import { CopyForgetting } from './copy-forgetting.service.js';
import { CopyAccesses } from './copy-access.handler.js';
import { CopySite } from './copy-site.js';
import { KeptEnding } from './kept-ending.js';
import { ArchiveFacts } from '../facts/archive-facts.js';
import { VaultService } from '../vault/vault.module.js';
import type { z } from 'zod';

type UsageReport = z.infer<typeof archiveUsageResult.payload>;

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
const archiveOf = (archiveId: string) =>
  sites.first.get(SiteUnitOfWork).run((tx) => sites.first.get(Archives).get(tx, archiveId));
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
    const unknown = { missingObjects: null, missingBytes: null, failure: { code: 'archive.copy' } };
    expect(await copyOf(archiveId)).toMatchObject({ ...unknown, completeUntil: null });
    expect(await sites.first.get(Copies).due(10)).not.toContain(archiveId);
    sites.join();
    await lookedAt(archiveId);
    expect(await sites.first.get(Copies).due(10)).toContain(archiveId);
    await replicate(archiveId);
    const whole = await copyOf(archiveId);
    expect(whole).toMatchObject({ missingObjects: 0, missingBytes: 0, failure: null });
    sites.cut();
    await replicate(archiveId);
    sites.join();
    expect(await copyOf(archiveId)).toMatchObject({ ...unknown, completeUntil: whole?.completeUntil });
  });

  test('forgets what was forgotten here, by its own minimum age, and nothing that is merely missing here', async () => {
    const archiveId = await sites.archive();
    const [old, other] = [await backedUp(archiveId), await backedUp(archiveId)];
    await sites.first.age(archiveId, 3);
    const newest = await backedUp(archiveId);
    await replicate(archiveId);
    const there = async () => (await sites.second.objects(archiveId, 'snapshots')).map(({ id }) => id).sort();
    expect(await there()).toEqual([old, other, newest].sort());
    await sites.first.get(RetentionService).tend(archiveId, new AbortController().signal);
    // Received there a moment ago: retained, without an error.
    await replicate(archiveId);
    expect(await there()).toEqual([old, other, newest].sort());
    expect(await copyOf(archiveId)).toMatchObject({ failure: null });
    for (const { path, receivedAt } of await sites.second.objects(archiveId)) {
      const then = new Date(receivedAt.getTime() - 2 * 86_400_000);
      await utimes(path, then, then);
    }
    // A disk that has lost something here takes nothing there.
    const [lost] = await sites.first.objects(archiveId, 'data');
    await unlink(lost?.path ?? '');
    const packs = (await sites.second.objects(archiveId, 'data')).length;
    await sites.first.get(CopyForgetting).follow(await archiveOf(archiveId), new AbortController().signal);
    expect(await there()).toEqual([old, other, newest].sort());
    sites.first.get(CopyForgetting).again(archiveId);
    await sites.first.get(CopyForgetting).follow(await archiveOf(archiveId), new AbortController().signal);
    expect(await there()).toEqual([newest]);
    const left = await sites.second.objects(archiveId, 'data');
    expect(left.length).toBeLessThan(packs);
    expect(left.map(({ id }) => id)).toContain(lost?.id);
    expect(await sites.first.get(Damages).found(archiveId, { type: 'data', id: lost?.id ?? '' })).toBe('repaired');
    await sites.first.check(archiveId);
    const lease = await sites.second.rows(`SELECT FROM vault_repository WHERE maintained_by IS NOT NULL`);
    expect(lease).toEqual([]);
  });

  test('is maintained for as long as that takes, and for no longer', async () => {
    const archiveId = await sites.archive();
    await backedUp(archiveId);
    await replicate(archiveId);
    const lease = async () => {
      const sql = `SELECT maintained_until AS until FROM vault_repository WHERE repository_id = $1`;
      return (await sites.second.rows<{ until: Date | null }>(sql, [archiveId]))[0]?.until ?? null;
    };
    const archive = await archiveOf(archiveId);
    const { signal } = new AbortController();
    const longer = async ({ user }: CopyAccess) => {
      const first = await lease();
      await waitFor('the lease to go on', async () => ((await lease()) ?? 0) > (first ?? 0), { timeoutMs: 30_000 });
      return user;
    };
    const user = await sites.first.get(CopySite).maintaining(archive, signal, longer, 100);
    expect(await lease()).toBeNull();
    const caller = { siteId: sites.first.siteId, workloadId: archive.workloadId };
    const renewed = sites.second.get(CopyAccesses).renew(caller, { ...caller, archiveId, user });
    await expect(renewed).rejects.toMatchObject({ code: 'credential.not-found' });
    expect(await lease()).toBeNull();
  });

  test('loses the keys that a rotation took away, once it has kept them for as long as it must, and no others', async () => {
    const archiveId = await sites.archive();
    await backedUp(archiveId);
    await replicate(archiveId);
    const keys = async (site: 'first' | 'second') =>
      (await sites[site].objects(archiveId, 'keys')).map(({ id }) => id).sort();
    const follow = async () => {
      sites.first.get(CopyForgetting).again(archiveId);
      await sites.first.get(CopyForgetting).follow(await archiveOf(archiveId), new AbortController().signal);
    };
    const old = await keys('first');
    await sites.first.rows(`UPDATE archive_key SET restic_key = $2 WHERE archive_id = $1`, [archiveId, old[0]]);
    await sites.first.get(RepositoryKeys).rotate(archiveId, randomUUID(), new AbortController().signal);
    const fresh = await keys('first');
    await backedUp(archiveId);
    await replicate(archiveId);
    await follow();
    expect(await keys('second')).toEqual([...old, ...fresh].sort());
    await sites.second.age(archiveId, 3);
    // A key that a disk has lost here is no key that was taken away.
    const [lost] = await sites.first.objects(archiveId, 'keys');
    await unlink(lost?.path ?? '');
    await follow();
    expect(await keys('second')).toEqual(fresh);
  });

  test('goes with its archive, once its own minimum age is over too', async () => {
    const archiveId = await sites.archive();
    await backedUp(archiveId);
    await replicate(archiveId);
    const { tenantId, workloadId } = await archiveOf(archiveId);
    const order = { id: randomUUID(), number: 1, tenantId, payload: { archiveId, workloadId } };
    for (const site of [sites.first, sites.second]) await site.get(EndArchiveHandler).carryOut(order);
    const reconcile = () => sites.first.get(ArchiveReconciler).reconcile(archiveId, new AbortController().signal);
    // Meanwhile the two may move: each learns where the other is, and the archive goes on ending.
    const at = async (site: 'first' | 'second', port: number) => {
      const peer = { siteId: sites[site].siteId, host: '127.0.0.1', port, publicKey: 'another' };
      const other = { ...peer, certificateFingerprint: '1'.repeat(64) };
      const told = { ...order, payload: { ...order.payload, other } };
      await sites[site === 'first' ? 'second' : 'first'].get(EndArchiveHandler).carryOut(told);
      return other;
    };
    const other = await at('second', 7_444);
    expect(await archiveOf(archiveId)).toMatchObject({ state: 'ending', second: other });
    const first = await at('first', 7_445);
    expect(await sites.second.rows(`SELECT first FROM archive_kept_copy WHERE archive_id = $1`, [archiveId])).toEqual([
      { first },
    ]);
    await sites.first.age(archiveId, 3);
    await reconcile();
    expect(await archiveOf(archiveId)).toMatchObject({ state: 'ended', failure: null });
    await at('second', 7_446);
    expect(await archiveOf(archiveId)).toMatchObject({ state: 'ended', second: { port: 7_446 } });
    await expect(ids('first', archiveId)).rejects.toThrow('ENOENT');
    // The other site is away, or received it a moment ago: it is asked again.
    sites.cut();
    await reconcile();
    sites.join();
    await reconcile();
    expect((await archiveOf(archiveId)).second).not.toBeNull();
    expect((await ids('second', archiveId)).length).toBeGreaterThan(3);
    await sites.second.age(archiveId, 3);
    await reconcile();
    expect(await archiveOf(archiveId)).toMatchObject({ second: null, failure: null });
    await at('second', 7_447);
    expect(await archiveOf(archiveId)).toMatchObject({ state: 'ended', second: null });
    await expect(ids('second', archiveId)).rejects.toThrow('ENOENT');
    expect(await sites.second.rows(`SELECT FROM archive_kept_copy WHERE archive_id = $1`, [archiveId])).toEqual([]);
  });

  test('is metered where it is kept, as intervals without a gap, until it is gone', async () => {
    const archiveId = await sites.archive();
    await backedUp(archiveId);
    const facts = () => sites.second.get(ArchiveFacts).sweep(new AbortController().signal);
    const told = async () =>
      (await sites.second.results<UsageReport>('archive.usage')).filter((fact) => fact.archiveId === archiveId);
    await facts();
    await replicate(archiveId);
    await facts();
    await sites.second.rows(`UPDATE archive_stored SET since = since - interval '25 hours' WHERE archive_id = $1`, [
      archiveId,
    ]);
    await facts();
    await facts();
    const stored = await sites.second.get(VaultService).storedBytes(archiveId);
    expect(stored).toBeGreaterThan(500_000);
    const { workloadId } = await archiveOf(archiveId);
    const kind = 'archive.copy-stored-bytes';
    expect(await told()).toMatchObject([
      { kind, workloadId, amount: 0 },
      { kind, workloadId, amount: stored },
    ]);
    await sites.second.age(archiveId, 3);
    const caller = { siteId: sites.first.siteId, workloadId };
    expect(await sites.second.get(KeptEnding).end(caller, { workloadId, archiveId })).toBe(true);
    await facts();
    const [, second, last, ...more] = await told();
    expect(last).toMatchObject({ kind, amount: stored, from: second?.to });
    expect(more).toEqual([]);
    expect(new Set((await told()).map(({ factId }) => factId)).size).toBe(3);
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

import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, utimes } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ArchiveReport } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Changes } from '../changes/changes.service.js';
import { Tellings } from '../facts/tellings.js';
import { EnsureArchiveHandler } from '../orders/archive.orders.js';
import { HoldPointHandler } from '../orders/point.orders.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { Points, VaultRepositories } from '../index.js';
import { RetentionService } from './retention.service.js';

const signal = new AbortController().signal;
let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site.stop());

const tend = (archiveId: string) => site.get(RetentionService).tend(archiveId, signal);
const present = async (archiveId: string) => (await site.objects(archiveId, 'snapshots')).map(({ id }) => id).sort();
const folder = (bytes = 300_000) => site.folder({ file: randomBytes(bytes) });
const bytesOf = async (archiveId: string) => {
  const files = await site.objects(archiveId, 'data');
  return (await Promise.all(files.map(async ({ path }) => (await readFile(path)).length))).reduce((a, b) => a + b, 0);
};
const refs = async (archiveId: string) => {
  const [row] = await site.rows<{ workloadId: string; tenantId: string }>(
    `SELECT workload_id AS "workloadId", tenant_id AS "tenantId" FROM archive WHERE archive_id = $1`,
    [archiveId],
  );
  return { archiveId, workloadId: row?.workloadId ?? '', tenantId: row?.tenantId ?? '' };
};
const order = <P extends { readonly tenantId: string }>({ tenantId, ...payload }: P) => {
  return { id: randomUUID(), number: 1, tenantId, payload };
};
const hold = async (archiveId: string, snapshotId: string, because: string | null) =>
  site.get(HoldPointHandler).carryOut(order({ ...(await refs(archiveId)), snapshotId, because }));

describe('retention', () => {
  test('forgets by age and rule, prunes once a day, retains what is young, and leaves a sound repository', async () => {
    const archiveId = await site.archive();
    const first = await site.backup(archiveId, await folder(2_000_000));
    await site.age(archiveId, 3);
    const second = await site.backup(archiveId, await folder());
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([second]);
    expect(await bytesOf(archiveId)).toBeLessThan(400_000);
    await site.check(archiveId);
    expect(await site.results('archive.point')).toMatchObject([{ snapshotId: first, forgottenBecause: 'retention' }]);
    // Young packs of a point that is gone: prune ends well, and takes them when they are old enough.
    const third = await site.backup(archiveId, await folder());
    await site.rows(`UPDATE archive_point SET received_at = received_at - interval '2 days' WHERE snapshot_id = $1`, [
      second,
    ]);
    const aged = (await site.objects(archiveId, 'snapshots')).find(({ id }) => id === second);
    const then = new Date(Date.now() - 3 * 86_400_000);
    await utimes(aged?.path ?? '', then, then);
    await site.rows(`UPDATE archive SET pruned_at = pruned_at - interval '2 days' WHERE archive_id = $1`, [archiveId]);
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([third]);
    expect(await bytesOf(archiveId)).toBeGreaterThan(500_000);
    await site.check(archiveId);
    await tend(archiveId);
    expect(await bytesOf(archiveId)).toBeGreaterThan(500_000);
    await site.age(archiveId, 2);
    await tend(archiveId);
    expect(await bytesOf(archiveId)).toBeLessThan(400_000);
    await site.check(archiveId);
  });

  test('that was made shorter takes hold when its time has come, and until then both count', async () => {
    const archiveId = await site.archive();
    const old = await site.backup(archiveId, await folder());
    await site.age(archiveId, 3);
    const newest = await site.backup(archiveId, await folder());
    const known = await refs(archiveId);
    const [row] = await site.rows<{ agentId: string; policy: object }>(
      `SELECT agent_id AS "agentId", policy FROM archive WHERE archive_id = $1`,
      [archiveId],
    );
    const ensure = (until: number | null) => {
      const former = until && {
        retention: { hours: 0, days: 30, weeks: 0, months: 0, years: 0 },
        until: new Date(until).toISOString(),
      };
      const same = { workloadName: 'records', source: 'files', keyMode: 'escrowed', paused: false, second: null };
      const payload = { ...known, agentId: row?.agentId, policy: row?.policy, ...same, former };
      return site.get(EnsureArchiveHandler).carryOut(order(payload) as never);
    };
    await ensure(Date.now() + 60_000);
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([old, newest].sort());
    await ensure(Date.now() - 1);
    await site.rows(`UPDATE archive SET retention_at = NULL WHERE archive_id = $1`, [archiveId]);
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([newest]);
  });

  test('believes no date of a client: neither a clock five years ahead nor a flood with a stolen credential', async () => {
    const archiveId = await site.archive();
    const real = await site.backup(archiveId, await folder());
    await site.age(archiveId, 3);
    const forged: string[] = [];
    for (let year = 2030; year < 2034; year += 1) {
      const options = ['--time', `${year}-01-01 00:00:00`];
      forged.push(await site.backup(archiveId, await folder(1_000), { runId: null, options }));
    }
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([real, ...forged].sort());
    await site.age(archiveId, 2);
    await tend(archiveId);
    // Of the strangers' the newest by receipt stays, as a day's; ours stays whatever they do.
    expect(await present(archiveId)).toEqual([real, forged.at(-1)].sort());
    await site.check(archiveId);
  });

  test('keeps what earlier runs made, though an agent says that it is part of its own run', async () => {
    const archiveId = await site.archive();
    const real = await site.backup(archiveId, await folder());
    await site.age(archiveId, 3);
    const stranger = await site.backup(archiveId, await folder(), { runId: null });
    await site.age(archiveId, 2);
    const thief = await site.backup(archiveId, await folder());
    const [point] = await site.rows<{ runId: string; claimedAt: Date }>(
      `SELECT run_id AS "runId", claimed_at AS "claimedAt" FROM archive_point WHERE snapshot_id = $1`,
      [thief],
    );
    const runId = point?.runId ?? '';
    const unknown = { part: null, files: null, bytes: null, bytesAddedPacked: null, change: null };
    const said = { archiveId, runId, claimedAt: new Date(), clockDiffers: false, ...unknown };
    const claim = (snapshotId: string) =>
      site.get(SiteUnitOfWork).run((tx) => site.get(Points).upsert(tx, { ...said, snapshotId }));
    expect(await claim(real)).toBe(false);
    expect(await claim(stranger)).toBe(true);
    expect(await claim(thief)).toBe(true);
    const owned = await site.rows(`SELECT snapshot_id FROM archive_point WHERE archive_id = $1 AND run_id = $2`, [
      archiveId,
      runId,
    ]);
    expect(owned).toEqual([{ snapshot_id: thief }]);
  });

  test('goes by the rules as they are once the repository is its own', async () => {
    const archiveId = await site.archive();
    const old = await site.backup(archiveId, await folder());
    await site.age(archiveId, 3);
    const newest = await site.backup(archiveId, await folder());
    const changes = site.get(Changes);
    const look = changes.look.bind(changes);
    // Ordered while it looks at the last runs.
    changes.look = async (id) => {
      await look(id);
      await site.rows(`UPDATE archive SET policy = jsonb_set(policy, '{retention,days}', '30') WHERE archive_id = $1`, [
        archiveId,
      ]);
    };
    await tend(archiveId);
    changes.look = look;
    expect(await present(archiveId)).toEqual([old, newest].sort());
  });

  test('that fails is not begun again at once', async () => {
    const archiveId = await site.archive();
    await site.backup(archiveId, await folder());
    await site.age(archiveId, 3);
    await site.backup(archiveId, await folder());
    const due = () => site.get(RetentionService).due(50);
    expect(await due()).toContain(archiveId);
    await site.rows(`UPDATE archive_key SET sealed_by = 'a key that is lost' WHERE archive_id = $1`, [archiveId]);
    await expect(tend(archiveId)).rejects.toMatchObject({ code: expect.stringContaining('key') as string });
    expect(await due()).not.toContain(archiveId);
    const other = await site.archive();
    expect(await due()).toContain(other);
  });

  test('that fails again and again is told, with why, until it works', async () => {
    const archiveId = await site.archive();
    await site.backup(archiveId, await folder());
    await site.age(archiveId, 3);
    await site.backup(archiveId, await folder());
    const alarms = async () => {
      await site.get(Tellings).look(archiveId, new Date());
      const told = await site.results<ArchiveReport>('archive.state');
      return told.filter((report) => report.archiveId === archiveId).at(-1)?.alarms ?? [];
    };
    const [key] = await site.rows<{ by: string }>(
      `UPDATE archive_key k SET sealed_by = 'a key that is lost' FROM archive_key before
        WHERE k.archive_id = $1 AND before.key_id = k.key_id RETURNING before.sealed_by AS by`,
      [archiveId],
    );
    for (let n = 0; n < 3; n += 1) await expect(tend(archiveId)).rejects.toThrow();
    // Ten minutes each: what is in the way for half an hour is nobody's yet.
    expect(await alarms()).toEqual([]);
    await site.rows(
      `UPDATE archive SET retention_failing_since = retention_failing_since - interval '2 hours' WHERE archive_id = $1`,
      [archiveId],
    );
    const [failing] = await alarms();
    expect(failing).toMatchObject({ code: 'retention-failed', what: expect.stringContaining('password') as string });
    expect(Date.parse(failing?.since ?? '')).toBeLessThan(Date.now() - 7_000_000);
    await site.rows(`UPDATE archive_key SET sealed_by = $2 WHERE archive_id = $1`, [archiveId, key?.by]);
    await tend(archiveId);
    expect(await alarms()).toEqual([]);
  });

  test('stands still under a hold of the repository, and keeps a point that is held', async () => {
    const archiveId = await site.archive();
    const [first, second] = [
      await site.backup(archiveId, await folder()),
      await site.backup(archiveId, await folder()),
    ];
    await site.age(archiveId, 3);
    const third = await site.backup(archiveId, await folder());
    await site.get(VaultRepositories).hold(archiveId, 'an unusual change');
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([first, second, third].sort());
    await site.get(VaultRepositories).hold(archiveId, null);
    await hold(archiveId, first, 'litigation 22-114');
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([first, third].sort());
    await expect(hold(archiveId, second, 'too late')).rejects.toMatchObject({ code: 'recovery-point.not-found' });
    await hold(archiveId, first, null);
    await tend(archiveId);
    expect(await present(archiveId)).toEqual([third]);
  });
});

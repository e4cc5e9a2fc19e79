import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ArchiveReport, MassChangeReport, PointReport, RunSummary } from '#contracts/archive';
import { VaultRepositories } from '../index.js';
import { JudgeChangeHandler } from '../orders/judge-change.order.js';
import { RetentionService } from '../retention/retention.service.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { Changes } from './changes.service.js';

const signal = new AbortController().signal;
let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site.stop());

const calm: RunSummary = {
  filesNew: 5,
  filesChanged: 30,
  filesUnmodified: 970,
  filesRemoved: 2,
  bytesProcessed: 2 ** 30,
  bytesAdded: 8 * 2 ** 20,
  bytesAddedPacked: 4 * 2 ** 20,
  seconds: 3,
};
const wild = { ...calm, filesNew: 900, filesRemoved: 900, filesUnmodified: 70, bytesAddedPacked: 8 * 2 ** 20 };

/** A run with these numbers, as the agent told them, and a recovery point. */
async function run(archiveId: string, summary: RunSummary): Promise<string> {
  const runId = randomUUID();
  const snapshotId = await site.backup(archiveId, await site.folder({ file: randomBytes(1_000) }), { runId });
  const result = {
    snapshots: [{ id: snapshotId, part: null, files: 1, bytes: 1, summary }],
    renamedCount: 0,
    removed: summary === wild ? ['/permits/1.pdf'] : [],
  };
  await site.rows(`UPDATE archive_run SET result = $2, ended_at = clock_timestamp() WHERE run_id = $1`, [
    runId,
    JSON.stringify(result),
  ]);
  await site.get(Changes).look(archiveId);
  return snapshotId;
}
const told = () => site.results<MassChangeReport>('archive.mass-change');
const state = async () => (await site.results<ArchiveReport>('archive.state')).at(-1);
const judge = async (change: MassChangeReport | undefined, verdict: 'false-positive' | 'dealt-with') => {
  const { archiveId = '', workloadId = '', changeId = '' } = change ?? {};
  const payload = { archiveId, workloadId, changeId, verdict };
  const [own] = await site.rows<{ id: string }>(`SELECT tenant_id AS id FROM archive WHERE archive_id = $1`, [
    archiveId,
  ]);
  return site.get(JudgeChangeHandler).carryOut({ id: randomUUID(), number: 1, tenantId: own?.id ?? null, payload });
};
const present = async (archiveId: string) => (await site.objects(archiveId, 'snapshots')).map(({ id }) => id).sort();

test('an unusual change pauses retention and pins the last good point; false, it is learnt from; right, it goes on', async () => {
  const archiveId = await site.archive();
  const old = await run(archiveId, calm);
  const good = await run(archiveId, calm);
  await site.age(archiveId, 3);
  const bad = await run(archiveId, wild);
  const [change] = await told();
  expect(change).toMatchObject({ state: 'suspected', lastGood: good, paths: ['/permits/1.pdf'] });
  expect(change?.signals.map((each) => each.signal)).toEqual(['deletions', 'entropy']);
  expect((await state())?.retentionPaused).toMatch(/^an unusual change is suspected/);
  expect((await site.results<PointReport>('archive.point')).at(-1)).toMatchObject({ snapshotId: good, pinned: true });
  // Nothing is stopped that comes in, and nothing goes.
  const after = await run(archiveId, wild);
  expect(await told()).toHaveLength(1);
  await site.get(RetentionService).tend(archiveId, signal);
  expect(await present(archiveId)).toEqual([old, good, bad, after].sort());
  await judge(change, 'false-positive');
  expect(await told()).toMatchObject([{ state: 'suspected' }, { state: 'false-positive' }]);
  expect((await state())?.retentionPaused).toBeNull();
  expect((await site.results<PointReport>('archive.point')).at(-1)).toMatchObject({ snapshotId: good, pinned: false });
  // So much is nothing unusual here any more.
  await run(archiveId, wild);
  expect(await told()).toHaveLength(2);
  await site.get(RetentionService).tend(archiveId, signal);
  expect(await present(archiveId)).not.toContain(old);
  await judge(change, 'false-positive');
  await expect(judge(change, 'dealt-with')).rejects.toMatchObject({ code: 'unusual-change.not-found' });
});

test('retention looks before it acts, and what was dealt with lets it go on without the last good point', async () => {
  const archiveId = await site.archive();
  const [old, good] = [await run(archiveId, calm), await run(archiveId, calm)];
  await site.age(archiveId, 3);
  const runId = randomUUID();
  await site.backup(archiveId, await site.folder({ file: 'encrypted' }), { runId });
  await site.rows(`UPDATE archive_run SET result = $2 WHERE run_id = $1`, [
    runId,
    JSON.stringify({ snapshots: [{ summary: wild }], renamedCount: 0, removed: [] }),
  ]);
  await site.get(RetentionService).tend(archiveId, signal);
  expect(await present(archiveId)).toEqual(expect.arrayContaining([old, good]));
  const change = (await told()).at(-1);
  expect(change).toMatchObject({ archiveId, state: 'suspected', runId });
  await judge(change, 'dealt-with');
  await site.get(RetentionService).tend(archiveId, signal);
  expect(await present(archiveId)).not.toContain(old);
  expect(await present(archiveId)).toContain(good);
});

test('a stolen credential that floods the archive and tries to delete is a suspicion without any run', async () => {
  const archiveId = await site.archive();
  const first = await run(archiveId, calm);
  const stolen = await site.get(VaultRepositories).issue(archiveId, 'append');
  for (let number = 0; number < 12; number += 1) {
    await site.rows(
      `INSERT INTO vault_snapshot (repository_id, snapshot_id, received_at, credential_id)
       VALUES ($1, $2, clock_timestamp(), $3)`,
      [archiveId, randomBytes(32).toString('hex'), stolen.credentialId],
    );
  }
  await site.rows(
    `INSERT INTO vault_refusal (repository_id, credential_id, kind, times, last_what) VALUES ($1, $2, 'removal', 9, 'x')`,
    [archiveId, stolen.credentialId],
  );
  expect(await site.get(Changes).due(10)).toEqual([archiveId]);
  await site.get(Changes).look(archiveId);
  const change = (await told()).at(-1);
  expect(change).toMatchObject({ archiveId, runId: null, lastGood: first, state: 'suspected' });
  expect(change?.signals.map((each) => each.signal)).toEqual(['snapshot-burst', 'refused-deletes']);
});

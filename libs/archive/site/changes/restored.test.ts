import { randomBytes, randomUUID } from 'node:crypto';
import { rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ArchivePolicy, ArchiveReport, MassChangeReport, PointReport, RunSummary } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Archives } from '../archives.service.js';
import { EnsureArchiveHandler } from '../orders/archive.orders.js';
import { Points } from '../points/points.service.js';
import { ProofService } from '../proof/proof.service.js';
import { Sightings } from '../proof/sightings.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { Changes } from './changes.service.js';

// What a test restore sees, of files: an agent that lies about them lies in vain.
const signal = new AbortController().signal;
const CANARY = '/share/do-not-touch.docx';
let site: CareUnderTest;
let archiveId: string;
let folder: string;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site?.stop());

const FILES = 30;
const file = (number: number) => `share/${number}.pdf`;
beforeEach(async () => {
  archiveId = await site.archive({ policy: { canaries: [CANARY, '/share/never-made.pdf'] } });
  const contents = Array.from({ length: FILES }, (_, number) => [file(number), `%PDF-1.7 permit ${number}`] as const);
  folder = await site.folder({
    ...Object.fromEntries(contents),
    // Any agency has some that are not what their names say.
    'share/a.pdf': 'a placeholder',
    'share/b.pdf': 'another',
    [CANARY.slice(1)]: 'PK\x03\x04 nobody changes this',
  });
});

const calm: RunSummary = {
  filesNew: 0,
  filesChanged: 1,
  filesUnmodified: 999,
  filesRemoved: 0,
  bytesProcessed: 2 ** 30,
  bytesAdded: 2 ** 20,
  bytesAddedPacked: 2 ** 19,
  seconds: 3,
};

/** A run with these numbers, as the agent told them; its recovery point is restored as a test, and looked at. */
async function run(summary = calm): Promise<string> {
  const runId = randomUUID();
  const snapshotId = await site.backup(archiveId, folder, { runId });
  const result = { snapshots: [{ summary }], renamedCount: 0, removed: [] };
  await site.rows(`UPDATE archive_run SET result = $2, ended_at = clock_timestamp() WHERE run_id = $1`, [
    runId,
    JSON.stringify(result),
  ]);
  await site.get(Changes).look(archiveId);
  expect(await site.get(ProofService).proveNext(signal)).toBe(true);
  expect(await site.get(Changes).due(10)).toContain(archiveId);
  await site.get(Changes).look(archiveId);
  expect(await site.get(Changes).due(10)).not.toContain(archiveId);
  return snapshotId;
}
const changes = async () =>
  (await site.results<MassChangeReport>('archive.mass-change')).filter((change) => change.archiveId === archiveId);
const proofOf = async (snapshotId: string) =>
  (await site.results<PointReport>('archive.point')).filter((point) => point.snapshotId === snapshotId).at(-1)?.proof;
const canaryOf = async (snapshotId: string) => (await proofOf(snapshotId))?.canaries?.[0]?.state;
const write = (name: string, content: string | Buffer) => writeFile(path.join(folder, name), content);
const encrypt = async (names: readonly string[]) => {
  for (const name of names) await write(name, randomBytes(2_000));
};

test('files that were encrypted under their names, and a canary with them: suspected of a run that says it was calm', async () => {
  const first = await run();
  expect(await proofOf(first)).toMatchObject({
    state: 'proven',
    contents: {
      looked: FILES + 3,
      wrong: 2,
      paths: expect.arrayContaining(['/share/a.pdf', '/share/b.pdf']) as string[],
    },
    canaries: [
      { path: CANARY, state: 'learnt' },
      { path: '/share/never-made.pdf', state: 'not-found' },
    ],
  });
  const good = await run();
  expect(await canaryOf(good)).toBe('unchanged');
  expect(await changes()).toEqual([]);
  await encrypt([...Array.from({ length: 10 }, (_, number) => file(number)), CANARY]);
  const bad = await run();
  expect(await proofOf(bad)).toMatchObject({ state: 'proven', contents: { wrong: 13 } });
  const [change] = await changes();
  expect(change).toMatchObject({
    state: 'suspected',
    lastGood: good,
    signals: [
      {
        signal: 'wrong-contents',
        value: 13 / 33,
        usual: 2 / 33,
        what: expect.stringContaining('13 of 33 files') as string,
      },
      { signal: 'canary', value: 1, limit: 0, what: expect.stringContaining(CANARY) as string, paths: [CANARY] },
    ],
    paths: expect.arrayContaining([CANARY, '/share/3.pdf']) as string[],
  });
  const told = (await site.results<ArchiveReport>('archive.state')).at(-1);
  expect(told?.retentionPaused).toMatch(/^an unusual change is suspected/);
  // It was meant: so the canary is known from now on, and so many wrong files are usual here.
  await site.get(Changes).judge(archiveId, change?.changeId ?? '', 'false-positive');
  const next = await run();
  expect(await canaryOf(next)).toBe('unchanged');
  expect((await changes()).map(({ state }) => state)).toEqual(['suspected', 'false-positive']);
});

test('a canary that is gone is no suspicion by itself; with what the agent told before, it is', async () => {
  const good = await run();
  await rm(path.join(folder, CANARY));
  const alone = await run();
  expect(await canaryOf(alone)).toBe('missing');
  expect(await changes()).toEqual([]);
  await run({ ...calm, filesUnmodified: 700, filesRemoved: 300 });
  const [change] = await changes();
  expect(change?.signals.map((one) => one.signal)).toEqual(['deletions', 'canary']);
  // Not the one in which it was gone already.
  expect(change?.lastGood).toBe(good);
  await site.get(Changes).judge(archiveId, change?.changeId ?? '', 'false-positive');
  expect(await canaryOf(await run())).toBe('not-found');
  await write(CANARY, 'PK\x03\x04 a new one');
  expect(await canaryOf(await run())).toBe('learnt');
  expect(await changes()).toHaveLength(2);
});

test('what a restore sees of a run that is suspected already is said with it, with the proven point before', async () => {
  const good = await run();
  const unproven = await site.backup(archiveId, folder);
  await site.rows(`UPDATE archive_point SET proof_state = 'failed', proof_tries = 3 WHERE snapshot_id = $1`, [
    unproven,
  ]);
  await encrypt(Array.from({ length: FILES }, (_, number) => file(number)));
  await run({ ...calm, filesChanged: 900, filesUnmodified: 100, bytesAdded: 2 ** 24, bytesAddedPacked: 2 ** 24 });
  const told = await changes();
  expect(told.map(({ signals }) => signals.map((one) => one.signal))).toEqual([
    ['changes', 'entropy'],
    ['changes', 'entropy', 'wrong-contents'],
  ]);
  expect(told.map(({ lastGood }) => lastGood)).toEqual([unproven, good]);
  expect(told.at(-1)?.paths).toHaveLength(20);
  const point = (await site.results<PointReport>('archive.point')).filter((each) => each.snapshotId === good).at(-1);
  expect(point?.pinned).toBe(true);
});

/** As the order of an archive whose people name these. */
async function list(canaries: string[]): Promise<void> {
  const [row] = await site.rows<{ tenantId: string; workloadId: string; agentId: string; policy: ArchivePolicy }>(
    `SELECT tenant_id AS "tenantId", workload_id AS "workloadId", agent_id AS "agentId", policy FROM archive
      WHERE archive_id = $1`,
    [archiveId],
  );
  if (!row) throw new Error('the archive is gone');
  const { tenantId, policy, ...known } = row;
  const kept = { ...known, archiveId, workloadName: 'records', paused: false, second: null };
  const payload = { ...kept, source: 'files', keyMode: 'escrowed', policy: { ...policy, canaries } } as const;
  await site.get(EnsureArchiveHandler).carryOut({ id: randomUUID(), number: 1, tenantId, payload });
}

test('a canary is learnt from a recovery point after it was listed, and anew when it is listed anew', async () => {
  await list([]);
  const old = await site.backup(archiveId, folder);
  await list([CANARY]);
  await write(CANARY, 'PK\x03\x04 put right before it counts');
  // Whoever has stolen a credential teaches nothing.
  const strange = await site.backup(archiveId, folder, { runId: null });
  await write(CANARY, 'PK\x03\x04 as it is meant to be');
  const newer = await site.backup(archiveId, folder);
  // The strange one is restored first.
  await site.rows(`UPDATE archive_point SET proof_tries = 1 WHERE snapshot_id = $1`, [newer]);
  for (let more = true; more;) more = await site.get(ProofService).proveNext(signal);
  expect([await canaryOf(newer), await canaryOf(strange), await canaryOf(old)]).toEqual([
    'learnt',
    'not-compared',
    'not-compared',
  ]);
  await list([]);
  await list([CANARY]);
  await write(CANARY, 'PK\x03\x04 changed on purpose once more');
  expect(await canaryOf(await run())).toBe('learnt');
});

test('a canary that was taken off the list while its recovery point was restored is not learnt', async () => {
  const snapshotId = await site.backup(archiveId, folder);
  const { archive, point } = await site.get(SiteUnitOfWork).run(async (tx) => {
    const archive = await site.get(Archives).get(tx, archiveId);
    return { archive, point: await site.get(Points).find(tx, archiveId, snapshotId) };
  });
  if (!point) throw new Error('the point is gone');
  const restored = await site.folder({ [`files${CANARY}`]: 'PK\x03\x04 as it was when the restore began' });
  await list([]);
  await site.get(Sightings).ofFiles(archive, point, { folder: restored, sample: [], signal });
  expect(await site.rows(`SELECT path FROM archive_canary WHERE archive_id = $1`, [archiveId])).toEqual([]);
  await list([CANARY]);
  await write(CANARY, 'PK\x03\x04 changed while nobody watched it');
  const newer = await site.backup(archiveId, folder);
  for (let more = true; more;) more = await site.get(ProofService).proveNext(signal);
  expect(await canaryOf(newer)).toBe('learnt');
});

test('a link in the tree leads the look nowhere', async () => {
  await rm(path.join(folder, CANARY));
  await symlink('/etc/hostname', path.join(folder, CANARY));
  await symlink('/etc/hostname', path.join(folder, 'share/link.pdf'));
  const point = await run();
  expect(await proofOf(point)).toMatchObject({
    contents: { looked: FILES + 2 },
    canaries: [{ state: 'not-found' }, {}],
  });
});

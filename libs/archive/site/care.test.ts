import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { holdPointOrder, judgeChangeOrder, massChangeResult, pointResult } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { ArchiveSite, type KnownArchive } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';

// The whole of a site's care by its own jobs, with a real agent: what comes in is looked at and proven without being asked.
const SOON = { timeoutMs: 55_000, everyMs: 200 };
const FILES = 60;
let site: ArchiveSite;
let agent: AgentUnderTest;
let home: string;
let share: string;
let archive: KnownArchive;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-share-'));
  share = path.join(home, 'share');
  await mkdir(share);
  for (let number = 0; number < FILES; number += 1) {
    await writeFile(path.join(share, `${number}.txt`), `permit ${number}, granted. `.repeat(5_000));
  }
  agent = await AgentUnderTest.start([{ name: 'share', kind: 'files', paths: [share] }], { restoreTo: [home] });
  site = await ArchiveSite.start();
  archive = await site.archive(site.tunnel.connect(agent), 'share');
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});

const point = (snapshotId: string | undefined, state: string) => async () =>
  (await site.results(pointResult)).find((told) => told.snapshotId === snapshotId && told.proof.state === state);

test('a recovery point is proven, and its repository read, by itself', async () => {
  const first = await waitFor('the first run', async () => (await site.points(archive))[0], SOON);
  const proven = await waitFor('its proof', point(first.snapshotId, 'proven'), SOON);
  expect(proven.proof.checks[0]?.found).toMatch(new RegExp(`^${FILES} files `));
  const report = await site.state(archive, ({ checkedShare }) => checkedShare === 1);
  expect(report.damaged).toEqual([]);
});

test('files encrypted under other names are an unusual change, whose point is kept like all others until it is judged', async () => {
  const [good] = await site.points(archive);
  for (const name of await readdir(share)) {
    await rm(path.join(share, name));
    await writeFile(path.join(share, `${name}.locked`), randomBytes(120_000));
  }
  const run = await site.ended(await site.request(archive));
  expect(run.state).toBe('completed');
  const told = async () => (await site.results(massChangeResult)).at(-1);
  const change = await waitFor('the suspicion', told, SOON);
  expect(change).toMatchObject({ state: 'suspected', runId: run.runId, lastGood: good?.snapshotId });
  expect(change.signals.map(({ signal }) => signal)).toEqual(expect.arrayContaining(['deletions', 'entropy']));
  expect(change.paths.length).toBeGreaterThan(0);
  await site.state(archive, ({ retentionPaused }) => retentionPaused !== null);
  const { archiveId, workloadId } = archive;
  await site.order(holdPointOrder, { archiveId, workloadId, snapshotId: good?.snapshotId ?? '', because: 'evidence' });
  const held = async () => (await site.results(pointResult)).find(({ heldBecause }) => heldBecause === 'evidence');
  expect(await waitFor('the hold', held, SOON)).toMatchObject({ snapshotId: good?.snapshotId, pinned: true });
  await site.order(judgeChangeOrder, { archiveId, workloadId, changeId: change.changeId, verdict: 'dealt-with' });
  await waitFor('the verdict', async () => (await told())?.state === 'dealt-with', SOON);
});

import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  type ArchivePolicy,
  archiveUsageResult,
  beginWorkCommand,
  cancelArchiveWorkOrder,
  ensureArchiveOrder,
  lookWorkCommand,
  runResult,
} from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { ArchiveSite, type KnownArchive, policyOf } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';

const SOON = { timeoutMs: 55_000, everyMs: 100 };
const NAME = 'share';
let site: ArchiveSite;
let agent: AgentUnderTest;
let agentId: string;
let home: string;
let share: string;
let archive: KnownArchive;

const at = (...parts: string[]) => path.join(share, ...parts);
/** Beside the share, and archived with it. */
const annex = () => path.join(home, 'annex');

/** The order with which the control plane made it, with another policy. */
const ordered = (policy: Partial<ArchivePolicy>, known = archive, paused = false) =>
  site.order(ensureArchiveOrder, {
    ...known,
    source: 'files',
    keyMode: 'escrowed',
    policy: policyOf(policy),
    paused,
    second: null,
  });
/** What the site believes of a run, whatever it has told. */
async function rowOf(runId: string) {
  const [row] = await site.rows<{
    state: string;
    points: number;
    received: number;
    faults: number | null;
    work: string;
  }>(
    `SELECT state, (result->>'faultCount')::int AS faults,
            (SELECT count(*)::int FROM archive_point p WHERE p.run_id = r.run_id) AS points,
            (SELECT count(*)::int FROM vault_snapshot WHERE repository_id = r.archive_id) AS received,
            (SELECT work_id FROM archive a WHERE a.archive_id = r.archive_id) AS work
       FROM archive_run r WHERE run_id = $1`,
    [runId],
  );
  return row;
}

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-share-'));
  share = path.join(home, 'share');
  await mkdir(at('permits'), { recursive: true });
  await writeFile(at('permits', 'one.txt'), 'permit one');
  await writeFile(at('large'), randomBytes(3 * 2 ** 20));
  await writeFile(annex(), 'an annex');
  agent = await AgentUnderTest.start(
    [
      { name: NAME, kind: 'files', paths: [share, annex()] },
      { name: 'other', kind: 'files', paths: [share] },
    ],
    { restoreTo: [home] },
  );
  site = await ArchiveSite.start();
  agentId = site.tunnel.connect(agent);
  archive = await site.archive(agentId, NAME);
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});
beforeEach(() => {
  site.tunnel.alive = true;
  site.tunnel.before = () => Promise.resolve();
});

test('a new archive has its first run at once, and the next by its schedule', async () => {
  const first = await waitFor(
    'its end',
    async () => (await site.results(runResult)).find(({ endedAt }) => endedAt),
    SOON,
  );
  expect(first).toMatchObject({ state: 'completed', cause: 'schedule', faultCount: 0, failure: null });
  expect(first.summary).toMatchObject({ filesNew: 3 });
  const [point] = await site.points(archive);
  expect(point).toMatchObject({ snapshotId: first.snapshotIds[0], clockDiffers: false, files: 3 });
  const { nextRunAt, storedBytes } = await site.state(archive, (report) => report.storedBytes > 0);
  expect(Date.parse(nextRunAt ?? '')).toBeGreaterThan(Date.now());
  const usage = (await site.results(archiveUsageResult)).filter(({ kind }) => kind === 'archive.ingested-bytes');
  expect(usage).toHaveLength(1);
  expect(usage[0]?.amount).toBeGreaterThan(3 * 2 ** 20);
  expect(storedBytes).toBeGreaterThanOrEqual(usage[0]?.amount ?? Infinity);
});

test('two requests at once come one after another', async () => {
  const ids = await Promise.all([site.request(archive), site.request(archive)]);
  const runs = await Promise.all(ids.map((id) => site.ended(id)));
  const [one, other] = runs.sort((a, b) => Date.parse(a.startedAt ?? '') - Date.parse(b.startedAt ?? ''));
  expect([one?.state, other?.state]).toEqual(['completed', 'completed']);
  expect(Date.parse(other?.startedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(one?.endedAt ?? ''));
});

test('a silent agent leaves its run unknown; once it is back, the run has completed', async () => {
  const begun = Promise.withResolvers<void>();
  site.tunnel.before = async (command) => {
    if (command !== beginWorkCommand.path) return;
    begun.resolve();
  };
  const runId = await site.request(archive);
  await begun.promise;
  site.tunnel.alive = false;
  // As if it had been silent for long.
  await waitFor(
    'the run to have begun',
    async () => {
      const rows = await site.rows(
        `UPDATE archive_run SET seen_at = now() - interval '2 minutes', version = version + 1
          WHERE run_id = $1 AND state = 'running' RETURNING run_id`,
        [runId],
      );
      return rows.length > 0;
    },
    SOON,
  );
  await site.told(runId, ({ state }) => state === 'unknown');
  const [row] = await site.rows<{ work: string }>(`SELECT work_id AS work FROM archive WHERE archive_id = $1`, [
    archive.archiveId,
  ]);
  expect(row?.work).toBe(runId);
  site.tunnel.alive = true;
  expect(await site.ended(runId)).toMatchObject({ state: 'completed', failure: null });
});

test('a run that the agent has lost is begun anew, and its first credential opens nothing', async () => {
  const begins: { user: string; secret: string; url: string }[] = [];
  const carryOut = agent.carryOut.bind(agent);
  agent.carryOut = async (command, body) => {
    if (command === beginWorkCommand.path) {
      const { access } = beginWorkCommand.input.parse(body);
      begins.push(access);
      // The first one it hears, and dies.
      if (begins.length === 1) return { ok: true };
    }
    return carryOut(command, body);
  };
  try {
    const run = await site.ended(await site.request(archive));
    expect(run).toMatchObject({ state: 'completed' });
  } finally {
    agent.carryOut = carryOut;
  }
  expect(begins).toHaveLength(2);
  for (const { user } of begins) {
    const ended = async () => {
      const [row] = await site.rows<{ over: boolean }>(
        `SELECT ends_at <= now() AS over FROM vault_credential WHERE credential_id = $1`,
        [user],
      );
      return row?.over;
    };
    await waitFor('the credential to end', ended, SOON);
  }
});

test('a cancelled run ends as cancelled, and the repository is free', async () => {
  // Slow enough that it cannot end by itself before it is cancelled.
  await ordered({ bandwidthBytesPerSecond: 20_000 });
  await writeFile(at('slow'), randomBytes(6 * 2 ** 20));
  const { received = 0 } = (await rowOf((await site.results(runResult))[0]!.runId)) ?? {};
  const runId = await site.request(archive);
  await site.told(runId, ({ state }) => state === 'running');
  const { archiveId, workloadId } = archive;
  await site.order(cancelArchiveWorkOrder, { archiveId, workloadId, workId: runId });
  expect(await site.ended(runId)).toMatchObject({ state: 'cancelled', failure: null, snapshotIds: [] });
  const row = await rowOf(runId);
  expect(row).toMatchObject({ state: 'cancelled', points: 0, received });
  expect(row?.work).not.toBe(runId);
  await ordered({});
  const next = await site.ended(await site.request(archive));
  expect(next).toMatchObject({ state: 'completed', summary: { filesNew: 1 } });
});

test('what cannot be read makes a run partial, never whole, whatever the agent calls it', async () => {
  await rm(annex());
  const carryOut = agent.carryOut.bind(agent);
  const makesLightOfIt = async (command: string, body: unknown) => {
    const answer = await carryOut(command, body);
    if (command !== lookWorkCommand.path) return answer;
    const look = lookWorkCommand.output.parse(JSON.parse(JSON.stringify(answer)));
    return look.result ? { ...look, result: { ...look.result, state: 'completed' } } : look;
  };
  for (const heard of [carryOut, makesLightOfIt]) {
    agent.carryOut = heard;
    const run = await site.ended(await site.request(archive)).finally(() => (agent.carryOut = carryOut));
    expect(run).toMatchObject({ state: 'partial', failure: null, faultCount: 1, faults: [{ path: annex() }] });
    expect(await rowOf(run.runId)).toMatchObject({ state: 'partial', faults: 1, points: 1 });
    // What could be read is kept all the same.
    expect((await site.points(archive)).map(({ snapshotId }) => snapshotId)).toContain(run.snapshotIds[0]);
  }
});

test('a run has only what the vault received while it was under way, whatever its agent says', async () => {
  const [older, stranger] = (await site.points(archive)).map(({ snapshotId }) => snapshotId);
  await site.rows(`UPDATE archive_point SET run_id = NULL WHERE snapshot_id = $1`, [stranger]);
  await site.rows(`UPDATE vault_snapshot SET received_at = received_at - interval '1 day' WHERE snapshot_id = $1`, [
    stranger,
  ]);
  const pointsOf = (id?: string) =>
    site.rows(`SELECT run_id, claimed_at, files FROM archive_point WHERE snapshot_id = $1`, [id]);
  const before = [await pointsOf(older), await pointsOf(stranger)];
  const carryOut = agent.carryOut.bind(agent);
  agent.carryOut = async (command, body) => {
    const answer = await carryOut(command, body);
    if (command !== lookWorkCommand.path) return answer;
    const look = lookWorkCommand.output.parse(JSON.parse(JSON.stringify(answer)));
    const [own] = look.result?.snapshots ?? [];
    if (!look.result || !own) return look;
    const foreign = [older, stranger].map((id) => ({ ...own, id: id ?? '', files: 7 }));
    return { ...look, result: { ...look.result, snapshots: [...foreign, own] } };
  };
  try {
    const run = await site.ended(await site.request(archive));
    expect(run).toMatchObject({ state: 'partial', failure: { code: 'archive.not-all-received' } });
    expect(run.snapshotIds).toHaveLength(1);
    expect([older, stranger]).not.toContain(run.snapshotIds[0]);
    expect([await pointsOf(older), await pointsOf(stranger)]).toEqual(before);
  } finally {
    agent.carryOut = carryOut;
  }
});

test('missed runs are caught up once', async () => {
  const other = await site.archive(agentId, 'other', { policy: policyOf({ schedule: { every: 'fifteen-minutes' } }) });
  const of = async () => (await site.results(runResult)).filter((each) => each.archiveId === other.archiveId);
  await waitFor('its first run', async () => (await of()).some(({ endedAt }) => endedAt), SOON);
  await site.rows(`UPDATE archive SET next_run_at = now() - interval '3 days' WHERE archive_id = $1`, [
    other.archiveId,
  ]);
  const caught = await waitFor(
    'the run that catches up',
    async () => {
      const ids = new Set((await of()).filter(({ endedAt }) => endedAt).map(({ runId }) => runId));
      return ids.size >= 2 && ids;
    },
    SOON,
  );
  expect(caught.size).toBe(2);
  const { nextRunAt } = await site.state(other, () => true);
  const ahead = Date.parse(nextRunAt ?? '') - Date.now();
  expect(ahead).toBeGreaterThan(0);
  expect(ahead).toBeLessThanOrEqual(900_000);
  await ordered({}, other, true);
  expect(await site.state(other, ({ state }) => state === 'paused')).toMatchObject({ nextRunAt: null });
});

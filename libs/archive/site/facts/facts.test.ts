import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { archiveUsageResult, beginWorkCommand, cancelWorkCommand, ensureArchiveOrder } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { ArchiveSite, type KnownArchive, policyOf } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';
import { SiteRestic } from '../restic/site-restic.js';
import { ArchiveFacts } from './archive-facts.js';

const SOON = { timeoutMs: 55_000, everyMs: 100 };
const SLOW_BYTES = 6 * 2 ** 20;
let site: ArchiveSite;
let agent: AgentUnderTest;
let home: string;
let share: string;
let archive: KnownArchive;
const signal = new AbortController().signal;

const facts = () => site.get(ArchiveFacts).sweep(signal);
const clockOf = (hour: number) => `${String((hour + 24) % 24).padStart(2, '0')}:00`;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-facts-'));
  share = path.join(home, 'share');
  await mkdir(share);
  await writeFile(path.join(share, 'permit.txt'), 'a permit');
  agent = await AgentUnderTest.start([{ name: 'share', kind: 'files', paths: [share] }]);
  site = await ArchiveSite.start();
  archive = await site.archive(site.tunnel.connect(agent), 'share', {
    policy: policyOf({ standingCopy: false, minimumAgeDays: 0 }),
  });
  await waitFor('its first run', async () => (await site.points(archive)).length === 1, SOON);
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});

test('a source that is late, and an agent that is silent, are told; and that they are no more', async () => {
  site.tunnel.alive = false;
  const runId = await site.request(archive);
  await site.told(runId, ({ state, failure }) => state === 'waiting' && failure?.code === 'agent.unreachable');
  await site.rows(`UPDATE archive_run SET ended_at = ended_at - interval '30 days' WHERE ended_at IS NOT NULL`);
  await site.rows(`UPDATE archive_run SET due_at = now() - interval '1 hour' WHERE run_id = $1`, [runId]);
  await facts();
  const told = await site.state(archive, ({ alarms }) => (alarms?.length ?? 0) === 2);
  expect(told.alarms?.map(({ code }) => code)).toEqual(['late', 'source-silent']);
  site.tunnel.alive = true;
  await site.ended(runId);
  await facts();
  await waitFor('the alarms to end', async () => (await site.state(archive, () => true)).alarms?.length === 0, SOON);
});

test('a snapshot that no run told of becomes a point, with what it claims and when it came', async () => {
  const { archiveId } = archive;
  await site.get(SiteRestic).run(archiveId, ['backup', '--time', '2031-05-01 00:00:00', '.'], {
    role: 'append',
    purpose: 'a thief',
    signal,
  });
  await facts();
  expect(await site.points(archive)).toHaveLength(2);
  await site.rows(`UPDATE vault_snapshot SET received_at = received_at - interval '2 minutes'`);
  await facts();
  const points = await site.points(archive);
  expect(points).toHaveLength(3);
  const forged = points.find(({ runId }) => runId === null);
  expect(forged).toMatchObject({ clockDiffers: true, bytesAddedPacked: expect.any(Number) as number });
  expect(forged?.claimedAt.startsWith('2031')).toBe(true);
  expect(Math.abs(Date.parse(forged?.receivedAt ?? '') - Date.now())).toBeLessThan(600_000);
});

test('a run that comes into the quiet hours goes on with their bandwidth', async () => {
  const limits: (number | null)[] = [];
  const carryOut = agent.carryOut.bind(agent);
  const policy = policyOf({ standingCopy: false, minimumAgeDays: 0, timeZone: 'UTC' });
  const hour = new Date().getUTCHours();
  const quietHours = { from: clockOf(hour - 1), to: clockOf(hour + 2), bandwidthBytesPerSecond: 50_000_000 };
  const wish = { ...archive, source: 'files', keyMode: 'escrowed', paused: true, second: null } as const;
  await site.order(ensureArchiveOrder, { ...wish, policy: { ...policy, bandwidthBytesPerSecond: 20_000 } });
  await site.state(archive, ({ state }) => state === 'paused');
  // At that bandwidth it takes minutes, however fast the machine is.
  await writeFile(path.join(share, 'slow'), randomBytes(SLOW_BYTES));
  agent.carryOut = async (command, body) => {
    if (command === beginWorkCommand.path) {
      const { work } = beginWorkCommand.input.parse(body);
      limits.push('limits' in work ? work.limits.bandwidthBytesPerSecond : null);
      const answer = await carryOut(command, body);
      if (limits.length === 1) await site.order(ensureArchiveOrder, { ...wish, policy: { ...policy, quietHours } });
      return answer;
    }
    return carryOut(command, body);
  };
  const from = site.tunnel.called.length;
  const run = await site.ended(await site.request(archive));
  agent.carryOut = carryOut;
  expect(run).toMatchObject({ state: 'completed', failure: null });
  expect(run.summary?.bytesProcessed).toBeGreaterThan(SLOW_BYTES);
  expect(limits).toEqual([20_000, 50_000_000]);
  expect(site.tunnel.called.slice(from)).toContain(cancelWorkCommand.path);
  // That it was begun anew for the bandwidth counts as no loss of the agent's.
  const [row] = await site.rows(
    `SELECT state, begun, begun_limit::int AS "begunLimit", (SELECT count(*)::int FROM archive_point p
       WHERE p.run_id = r.run_id) AS points FROM archive_run r WHERE run_id = $1`,
    [run.runId],
  );
  expect(row).toEqual({ state: 'completed', begun: 1, begunLimit: 50_000_000, points: 1 });
});

test('what is stored is told as intervals without a gap', async () => {
  await site.rows(`UPDATE archive_stored SET since = since - interval '2 days'`);
  await facts();
  const stored = (await site.results(archiveUsageResult)).filter(({ kind }) => kind === 'archive.stored-bytes');
  expect(stored.length).toBeGreaterThan(1);
  const lengths = stored.map(({ from, to }) => Date.parse(to) - Date.parse(from));
  expect(Math.max(...lengths)).toBeGreaterThan(2 * 86_400_000 - 1_000);
  expect(new Set(stored.map(({ factId }) => factId)).size).toBe(stored.length);
});

test('an archive that has ended keeps its points until their time; then its repository is gone', async () => {
  await site.end(archive);
  await site.state(archive, ({ state }) => state === 'ending');
  const { archiveId } = archive;
  const vault = path.join(site.home.directory, 'archive', 'vault');
  await facts();
  expect(await readdir(vault)).toContain(archiveId);
  await site.rows(`UPDATE vault_snapshot SET received_at = now() - interval '31 days'`);
  const longAgo = new Date(Date.now() - 31 * 86_400_000);
  await utimes(path.join(vault, archiveId, 'config'), longAgo, longAgo);
  const gone = async () => {
    // Others may have the repository when its turn comes first.
    await facts();
    return (await site.state(archive, () => true)).state === 'ended';
  };
  await waitFor('the end', gone, { ...SOON, everyMs: 1_000 });
  expect(await site.state(archive, () => true)).toMatchObject({ storedBytes: 0 });
  expect(await readdir(vault)).not.toContain(archiveId);
  for (const point of await site.points(archive)) expect(point.forgottenBecause).toBe('retention');
  const keys = await site.rows(`SELECT FROM archive_key WHERE retired_at IS NULL OR length(sealed) > 0`);
  expect(keys).toEqual([]);
});

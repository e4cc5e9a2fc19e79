import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { Metrics } from '#libs/platform/telemetry';
import { ArchiveSite, type KnownArchive, policyOf } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';
import { Scraped } from '#test/scrape';

const SOON = { timeoutMs: 55_000, everyMs: 100 };
let site: ArchiveSite;
let agent: AgentUnderTest;
let home: string;
let archive: KnownArchive;
let labels: Readonly<Record<string, string>>;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-figures-'));
  await mkdir(path.join(home, 'share'));
  await writeFile(path.join(home, 'share', 'permit.txt'), 'a permit');
  agent = await AgentUnderTest.start([{ name: 'share', kind: 'files', paths: [path.join(home, 'share')] }]);
  site = await ArchiveSite.start();
  await site.get(Metrics).open();
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});

const scrape = async (): Promise<Scraped> => new Scraped((await site.get(Metrics).scrape()).text);

test('before there is an archive there are its states and the room in the vault, and nothing is made up', async () => {
  const scraped = await scrape();
  for (const state of ['active', 'failed', 'ended']) expect(scraped.value('mainstay_archives', { state })).toBe(0);
  expect(scraped.value('mainstay_archive_points_unproven_oldest_seconds')).toBe(0);
  expect(scraped.value('mainstay_archive_newest_run_seconds')).toBeUndefined();
  const free = scraped.value('mainstay_vault_free_bytes') ?? NaN;
  expect(free).toBeGreaterThan(0);
  expect(scraped.value('mainstay_vault_size_bytes')).toBeGreaterThan(free);
});

test('what a run leaves can be scraped: its outcome and time, its point, what it stored, what went over the line', async () => {
  const policy = policyOf({ standingCopy: false, minimumAgeDays: 0 });
  archive = await site.archive(site.tunnel.connect(agent), 'share', { policy });
  labels = { workload_id: archive.workloadId };
  await waitFor('its first run', async () => (await site.points(archive)).length === 1, SOON);
  const scraped = await waitFor(
    'the run to be counted',
    async () => {
      const now = await scrape();
      return now.value('mainstay_archive_runs_total', { outcome: 'completed' }) === 1 && now;
    },
    SOON,
  );
  expect(scraped.value('mainstay_archives', { state: 'active' })).toBe(1);
  expect(scraped.value('mainstay_archive_run_seconds_count')).toBe(1);
  expect(scraped.value('mainstay_archive_newest_run_seconds', labels)).toBeGreaterThanOrEqual(0);
  expect(scraped.value('mainstay_archive_stored_bytes', labels)).toBeGreaterThan(0);
  const outside = { from: 'outside' };
  expect(scraped.value('mainstay_vault_requests_total', { ...outside, status: '2xx' })).toBeGreaterThan(0);
  expect(scraped.value('mainstay_vault_bytes_total', { ...outside, direction: 'received' })).toBeGreaterThan(
    scraped.value('mainstay_archive_stored_bytes', labels) ?? NaN,
  );
  expect(scraped.value('mainstay_vault_bytes_total', { from: 'site', direction: 'sent' })).toBeGreaterThan(0);
  for (const metric of ['objects_damaged', 'retention_paused', 'points_failed'])
    expect(scraped.value(`mainstay_archive_${metric}`, labels), metric).toBe(0);
  // There is none, so nothing is said of it.
  for (const metric of ['copy_missing_bytes', 'copy_seconds_behind', 'change_unjudged_seconds', 'alarm'])
    expect(scraped.value(`mainstay_archive_${metric}`, labels), metric).toBeUndefined();
  expect(scraped.text).not.toContain(archive.workloadName + '"');
  const failures = scraped.samples.filter(({ name, value }) => name.endsWith('collector_failures_total') && value > 0);
  expect(failures).toEqual([]);
});

test('points without a proof, damage, checks, a suspicion and a second copy that is behind', async () => {
  const { archiveId } = archive;
  // Written by hand, with nobody at work who would put it right.
  await site.stop();
  await site.run(false);
  await site.rows(
    `UPDATE archive_point SET proof_state = 'never', received_at = now() - interval '2 days' WHERE archive_id = $1`,
    [archiveId],
  );
  await site.rows(
    `INSERT INTO archive_point (archive_id, snapshot_id, received_at, claimed_at, proof, proof_state)
     VALUES ($1, 'failed', now(), now(), '{}', 'failed'),
            ($1, 'unproven', now() - interval '1 hour', now(), '{}', 'never')`,
    [archiveId],
  );
  await site.rows(
    `INSERT INTO archive_damage (archive_id, object, repaired_at) VALUES ($1, 'data/1', NULL), ($1, 'data/2', now())`,
    [archiveId],
  );
  await site.rows(`DELETE FROM archive_check WHERE archive_id = $1`, [archiveId]);
  await site.rows(
    `INSERT INTO archive_check (archive_id, part, of, checked_at, bytes, failure)
     VALUES ($1, 1, 4, now(), 1, NULL), ($1, 2, 4, now(), 1, '{}'), ($1, 3, 4, now() - interval '31 days', 1, NULL)`,
    [archiveId],
  );
  await site.rows(
    `INSERT INTO archive_change (change_id, archive_id, state, at, signals)
     VALUES ($1, $2, 'suspected', now() - interval '1 hour', '[]'), ($3, $2, 'dealt-with', now() - interval '9 hours', '[]')`,
    [randomUUID(), archiveId, randomUUID()],
  );
  await site.rows(`UPDATE vault_repository SET held_because = 'a test' WHERE repository_id = $1`, [archiveId]);
  await site.rows(
    `UPDATE archive SET second = '{}', alarms = '[{"code": "late"}, {"code": "source-silent"}]' WHERE archive_id = $1`,
    [archiveId],
  );
  const unknown = await scrape();
  expect(unknown.value('mainstay_archive_copy_missing_bytes', labels)).toBeUndefined();
  expect(unknown.value('mainstay_archive_copy_seconds_behind', labels)).toBeGreaterThan(47 * 3_600);
  await site.rows(
    `INSERT INTO archive_copy (archive_id, complete_until, missing_bytes, looked_at)
     VALUES ($1, now() - interval '1 day', 4711, now())`,
    [archiveId],
  );

  const scraped = await scrape();
  const value = (name: string) => scraped.value(`mainstay_archive_${name}`, labels);
  expect([value('points_unproven'), value('points_failed')]).toEqual([2, 1]);
  expect(scraped.value('mainstay_archive_points_unproven_oldest_seconds')).toBeGreaterThan(47 * 3_600);
  expect([value('objects_damaged'), value('checked_ratio'), value('retention_paused')]).toEqual([1, 0.25, 1]);
  expect(value('change_unjudged_seconds')).toBeGreaterThanOrEqual(3_600);
  expect(value('change_unjudged_seconds')).toBeLessThan(9 * 3_600);
  expect(value('copy_missing_bytes')).toBe(4_711);
  expect(value('copy_seconds_behind')).toBeGreaterThanOrEqual(3_600);
  expect(value('copy_seconds_behind')).toBeLessThan(24 * 3_600);
  for (const code of ['late', 'source-silent'])
    expect(scraped.value('mainstay_archive_alarm', { ...labels, code })).toBe(1);

  await site.rows(`UPDATE archive_copy SET failure = '{}' WHERE archive_id = $1`, [archiveId]);
  expect((await scrape()).value('mainstay_archive_copy_missing_bytes', labels)).toBeUndefined();
  await site.rows(`UPDATE archive SET state = 'ended' WHERE archive_id = $1`, [archiveId]);
  const ended = await scrape();
  expect(ended.value('mainstay_archives', { state: 'ended' })).toBe(1);
  expect(ended.value('mainstay_archive_points_failed', labels)).toBeUndefined();
});

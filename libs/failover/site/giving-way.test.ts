import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { TEST_NAMES, type TestAgency } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { RunTooLateError } from './index.js';

const world = new WarmWorld();
const { workloadId } = world;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let regional: WarmSite;

const asks = (site: WarmSite, runId: string) =>
  waitFor('the run to ask', async () => (await site.runState(runId)) === 'awaiting-confirmation', {
    timeoutMs: 10_000,
  });
const write = (site: WarmSite, text: string) => site.work.run((tx) => tx.execute(text, [workloadId]));

beforeAll(async () => {
  ({ agency, desk } = await world.openAgency({ shared_preload_libraries: 'pg_stat_statements' }));
  await agency.query('CREATE EXTENSION pg_stat_statements');
  ({ metro, regional } = await world.openProtectedPair());
});
afterAll(() => world.close());

test('a run that has not promoted gives way to a newer one, which believes what the other site was told', async () => {
  const older = await regional.failover({ epoch: 2 });
  await asks(regional, older);
  desk.alive = false;
  await write(
    regional,
    `UPDATE source_report SET contrary = 'no site is listed', contrary_at = clock_timestamp() WHERE workload_id = $1`,
  );
  const newer = await metro.failover({ epoch: 3, otherSite: regional.asPeer });
  await asks(metro, newer);
  expect((await regional.finished(older)).state).toBe('cancelled');
  const [held] = await regional.work.run((tx) => tx.query<{ hold: string }>('SELECT hold FROM standby'));
  expect(held?.hold).toContain('epoch 3');
  // The agent was told to stop its server and did not answer: it may have done it.
  await expect(metro.cancel(newer)).rejects.toThrow(RunTooLateError);
  await metro.confirm(newer);
  expect(await metro.finished(newer)).toMatchObject({ state: 'completed', report: { loss: { kind: 'unknown' } } });
  await regional.until('the regional to follow', ({ epoch, state }) => epoch === 3 && state === 'streaming');
  expect((await regional.health())?.frontDoor?.leadsTo).toBe('closed');
});

test('the password by which it follows stands in no statement that the server keeps', async () => {
  const kept = await metro.sql<{ query: string }>(`SELECT query FROM pg_stat_statements WHERE query ~* 'password'`);
  expect(kept.length).toBeGreaterThan(0);
  // Normalised or not: where a text stands, it is the verifier's.
  for (const { query } of kept) expect(query).toMatch(/PASSWORD ('SCRAM-SHA-256\$|\$\d)|pg_stat_statements/);
});

test('a site that no longer follows is asked again, with a new password', async () => {
  const reader = async () =>
    (await metro.sql<{ pid: number | null }>('SELECT active_pid AS pid FROM pg_replication_slots'))[0]?.pid ?? null;
  const before = await waitFor('the slot to be read', reader, { timeoutMs: 10_000 });
  await metro.sql(`ALTER ROLE ${TEST_NAMES.regionalRole} PASSWORD 'another'`);
  await metro.sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
  await waitFor(
    'the regional to follow again',
    async () => {
      const pid = await reader();
      return pid !== null && pid !== before;
    },
    { timeoutMs: 30_000 },
  );
});

test.each([
  ['lost', 'SELECT pg_switch_wal()'],
  ['gone', `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots`],
])('a site whose slot here is %s is copied anew by itself, and follows again', async (kind, ending) => {
  const slot = async () =>
    (
      await metro.sql<{ status: string; active: boolean }>(
        'SELECT wal_status AS status, active FROM pg_replication_slots',
      )
    )[0];
  const copies = async () =>
    (await regional.results<{ reason: string | null }>('replication.standby-changed')).filter(({ reason }) =>
      reason?.startsWith('copied-anew: The log that it lacks'),
    ).length;
  const before = await copies();
  await metro.sql('CREATE TABLE IF NOT EXISTS filler (n int)');
  await metro.sql(`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
  await metro.sql('SELECT pg_reload_conf()');
  metro.peers.lost.add(regional.home.siteId);
  await metro.sql(`ALTER ROLE ${TEST_NAMES.regionalRole} PASSWORD 'another'`);
  await metro.sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
  await waitFor('nobody to read the slot', async () => !(await slot())?.active, { timeoutMs: 10_000 });
  const [{ file } = { file: '' }] = await metro.sql<{ file: string }>(
    'SELECT pg_walfile_name(restart_lsn) AS file FROM pg_replication_slots',
  );
  await metro.sql(ending);
  await waitFor(
    'the log to be thrown away',
    async () => {
      await metro.sql('INSERT INTO filler SELECT generate_series(1, 1000)');
      await metro.sql('SELECT pg_switch_wal()');
      await metro.sql('CHECKPOINT');
      const kept = await metro.sql(`SELECT FROM pg_ls_waldir() WHERE name = '${file}'`);
      return kept.length === 0 && (kind === 'gone' || (await slot())?.status === 'lost');
    },
    { timeoutMs: 20_000 },
  );
  // A copy alone writes more log than that.
  await metro.sql('ALTER SYSTEM RESET max_slot_wal_keep_size');
  await metro.sql('SELECT pg_reload_conf()');
  metro.peers.lost.clear();
  await waitFor('the regional to follow again', async () => (await slot())?.active, { timeoutMs: 40_000 });
  const rows = async (site: WarmSite) => (await site.sql<{ n: string }>('SELECT count(*) AS n FROM filler'))[0]?.n;
  await waitFor('it to have all', async () => (await rows(regional)) === (await rows(metro)), { timeoutMs: 10_000 });
  await regional.until('it to say so', ({ epoch, state }) => epoch === 3 && state === 'streaming');
  expect(await copies()).toBeGreaterThan(before);
});

test('a run that comes after a newer promotion fails, and promotes nothing', async () => {
  await write(metro, 'UPDATE standby SET epoch = 9 WHERE workload_id = $1');
  const runId = await regional.failover({ epoch: 4, otherSite: metro.asPeer, acceptedLoss: { kind: 'unknown' } });
  expect((await regional.finished(runId)).state).toBe('failed');
  expect((await regional.driver.position(workloadId)).inRecovery).toBe(true);
});

test('a primary whose door was closed for a promotion that never came opens it again', async () => {
  await write(metro, `UPDATE front_door SET leads_to = 'closed' WHERE workload_id = $1`);
  await metro.until('the door to be open', ({ frontDoor }) => frontDoor?.leadsTo === 'standby');
});

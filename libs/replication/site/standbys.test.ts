import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { TEST_NAMES, type TestAgency } from '#test/agency';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

// One standby through its life: each part takes over what the one before has left.
const world = new WarmWorld();
let agency: TestAgency;
let metro: WarmSite;

const armed = () =>
  metro.until('the metro to be armed', (health) => health.state === 'streaming' && health.armed === true);
const names = async () =>
  (await agency.query<{ names: string }>(`SELECT current_setting('synchronous_standby_names') AS names`))[0]?.names;
const write = (note: string) => agency.query(`INSERT INTO permit (note) VALUES ('${note}')`);
/** Past the metro, as somebody with an override does; so that the log grows while nobody acknowledges. */
const fill = () =>
  agency.query(`SET synchronous_commit = local; INSERT INTO permit (note) SELECT repeat('x', 900) FROM generate_series(1, 30000);
    SELECT pg_switch_wal(); CHECKPOINT`);
const states = async () =>
  (await metro.results<{ state: string; reason: string | null }>('replication.standby-changed')).map(
    ({ state, reason }) => (reason ? `${state} (${reason.split(':')[0]})` : state),
  );

beforeAll(async () => {
  ({ agency } = await world.openAgency({ max_connections: 40 }));
  // Little of it can be compressed, so that the limit is felt.
  await agency.query(`INSERT INTO permit (note)
    SELECT (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 30) m) FROM generate_series(1, 20000) n`);
  metro = await world.openSite('metro');
});
afterAll(() => world.close());

test('a copy with a bandwidth limit tells its progress, and goes on where it was when the site is restarted', async () => {
  await metro.protect({ bandwidthBytesPerSecond: 600_000 });
  const half = await metro.until('a part to be copied', ({ seeding }) => (seeding?.bytesDone ?? 0) > 0);
  expect(half.seeding).toMatchObject({ attempt: 1 });
  expect(half.armed).not.toBe(true);
  await metro.shutdown();
  await metro.boot();
  const again = await metro.until('the copy to go on', ({ seeding }) => seeding?.attempt === 2);
  expect(again.seeding!.bytesDone).toBeGreaterThan(0);
  await metro.protect({ bandwidthBytesPerSecond: null });
  await armed();
  await write('acknowledged by the metro');
  expect(await names()).toContain(TEST_NAMES.metroApplication);
  expect((await metro.health())?.alarms).toEqual([]);
});

test('a limit raised at the agency stops no replay for long, and a replay paused by hand is resumed', async () => {
  await agency.configure({ max_connections: 60 });
  await agency.server.stop('fast');
  await agency.startServer();
  await waitFor(
    'the limit to reach the standby',
    async () =>
      Number((await metro.sql<{ max_connections: string }>('SHOW max_connections'))[0]?.max_connections) >= 60,
    { timeoutMs: 60_000 },
  );
  await armed();
  await metro.sql('SELECT pg_wal_replay_pause()');
  await metro.until('the alarm', ({ alarms }) => alarms.some(({ code }) => code === 'replay-paused'));
  await metro.until('replay to go on', ({ state, alarms }) => state === 'streaming' && alarms.length === 0);
});

test('who may sign in at the agency later may do so at the site, and a broken or closed list changes nothing there', async () => {
  const file = path.join(agency.server.directory, 'pg_hba.conf');
  const before = await readFile(file, 'utf8');
  const looked = async (text: string, seen: string) => {
    await writeFile(file, text);
    await metro.work.run((tx) => tx.execute('UPDATE standby SET facts_at = NULL'));
    await waitFor(
      'the site to have seen it',
      async () =>
        (await metro.work.run((tx) => tx.query(`SELECT FROM standby WHERE server::text ${seen}`))).length === 1,
      { timeoutMs: 30_000 },
    );
  };
  const lines = () =>
    metro.sql<{ line: string }>(
      `SELECT concat_ws(' ', database[1], user_name[1], auth_method) AS line FROM pg_hba_file_rules()
        WHERE user_name[1] IN ('assessor', 'intruder')`,
    );
  await looked(`host permits assessor 10.0.0.0/8 scram-sha-256\n${before}`, "LIKE '%assessor%'");
  expect(await lines()).toEqual([{ line: 'permits assessor scram-sha-256' }]);
  await looked(`host all intruder all scram-sha-256\nhost permits nonsense\n${before}`, "LIKE '%intruder%'");
  await looked('local all all trust\nlocal replication all trust\nhost all all all reject\n', "NOT LIKE '%intruder%'");
  expect(await lines()).toEqual([{ line: 'permits assessor scram-sha-256' }]);
  await looked(`host permits last 10.0.0.0/8 reject\n${before}`, "LIKE '%last%'");
  expect(await lines()).toEqual([]);
  await writeFile(file, before);
  await armed();
});

test('a line that goes silent is an alarm, and how far behind is not known', async () => {
  await armed();
  metro.freeze();
  const silent = await metro.until('the alarm', ({ alarms }) => alarms.some(({ code }) => code === 'source-silent'));
  expect(silent).toMatchObject({ bytesBehind: null, secondsBehind: null, sourceLsn: null });
  metro.thaw();
  await armed();
});

test('a slot that the agency gave up is made anew, the standby copied by difference, and a broken list changes nothing', async () => {
  const file = path.join(agency.server.directory, 'pg_hba.conf');
  const before = await readFile(file, 'utf8');
  const lines = () => metro.sql('SELECT type, database, user_name, address, auth_method FROM pg_hba_file_rules()');
  await agency.query(`ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'`);
  await agency.query(`ALTER SYSTEM SET max_wal_size = '48MB'`);
  await agency.query('SELECT pg_reload_conf()');
  await armed();
  const admitted = await lines();
  metro.freeze();
  await writeFile(file, `host all intruder all scram-sha-256\nhost permits nonsense\n${before}`);
  await agency.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_replication`);
  await waitFor(
    'the slot to be lost',
    async () => {
      await fill();
      const [slot] = await agency.query<{ wal_status: string }>('SELECT wal_status FROM pg_replication_slots');
      return slot?.wal_status === 'lost';
    },
    { timeoutMs: 40_000, everyMs: 10 },
  );
  metro.thaw();
  await waitFor(
    'the copy to be made again',
    async () => (await states()).some((state) => state.includes('slot-lost')),
    {
      timeoutMs: 30_000,
    },
  );
  await armed();
  await write('after the slot was lost');
  const [seen] = await metro.sql<{ n: number }>(
    `SELECT count(*)::int AS n FROM permit WHERE note LIKE 'after the slot%'`,
  );
  expect(seen?.n).toBe(1);
  expect(await lines()).toEqual(admitted);
  await writeFile(file, before);
});

test('a pause lets production go on alone and says so first; its end arms again', async () => {
  await metro.protect({ paused: true });
  await metro.until('the pause', ({ state }) => state === 'paused');
  expect(await names()).toBe('');
  await write('during the pause');
  expect((await metro.results<{ armed: boolean }>('replication.arming-changed')).at(-1)).toMatchObject({
    armed: false,
  });
  expect(await metro.health()).toMatchObject({ armed: false, alarms: [] });
  await metro.protect({ paused: false });
  await armed();
});

test('the end of a protection leaves nothing at either end', async () => {
  await metro.unprotect();
  await waitFor('the end', async () => (await metro.results('replication.unprotected')).length === 1, {
    timeoutMs: 30_000,
  });
  expect(await names()).toBe('');
  expect(await agency.query('SELECT FROM pg_replication_slots')).toEqual([]);
  expect(await agency.query(`SELECT FROM pg_roles WHERE rolname LIKE 'ms\\_%'`)).toEqual([]);
  const settings = await agency.query<{ name: string }>(
    `SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' AND name NOT LIKE 'max%'`,
  );
  expect(settings).toEqual([]);
  expect(await metro.driver.list()).toEqual([]);
  expect(await readdir(path.join(metro.home.directory, 'authorities'))).toEqual([]);
  const left = await metro.work.run((tx) =>
    tx.query(`SELECT workload_id FROM standby UNION SELECT workload_id FROM armed_lease UNION SELECT workload_id
                FROM front_door UNION SELECT workload_id FROM replication_credential`),
  );
  expect(left).toEqual([]);
  expect((await states()).at(-1)).toBe('removed');
});

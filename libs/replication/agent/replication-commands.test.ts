import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  armCommand,
  checkpointCommand,
  disarmCommand,
  prepareCommand,
  releaseCommand,
  agentBackup,
} from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { connect } from '#libs/platform/postgres';
import { DurableValue } from '#libs/sites/agent';
import { TEST_NAMES as names, TestAgency } from '#test/agency';
import { CommandDesk } from './command-desk.js';
import { madeRecord } from './own-objects.js';
import { protectionRecord } from './protection-record.js';
import { settingsRecord } from './server-settings.js';
import { baselineRecord, WorkloadDesk } from './workload-desk.js';

let agency: TestAgency;
let workloadDesk: WorkloadDesk;
let desk: CommandDesk;
const workloadId = randomUUID();
const common = { workloadId, workloadName: 'permits', names };

async function carry<O>(command: { path: string; output: { parse(value: unknown): O } }, body: object): Promise<O> {
  const answer = await desk.carryOut(command.path, body, new AbortController().signal);
  if (!('json' in answer)) throw new Error('bytes');
  return command.output.parse(JSON.parse(JSON.stringify(answer.json)));
}

/** All that an agency would notice of us: settings, roles, slots, and what ALTER SYSTEM has written. */
async function trace(): Promise<unknown> {
  const settings = await agency.query(
    `SELECT name, setting, source FROM pg_settings WHERE source NOT IN ('client', 'session') ORDER BY name`,
  );
  const roles = await agency.query('SELECT rolname FROM pg_roles ORDER BY 1');
  const slots = await agency.query('SELECT slot_name FROM pg_replication_slots');
  const overrides = await agency.query('SELECT * FROM pg_db_role_setting');
  const auto = await readFile(path.join(agency.server.directory, 'postgresql.auto.conf'), 'utf8');
  return { settings, roles, slots, overrides, auto };
}

beforeAll(async () => {
  agency = await TestAgency.start({ log_statement: 'all' });
  const file = (what: string) => path.join(agency.home, 'state', `${what}.json`);
  workloadDesk = new WorkloadDesk({
    workload: agency.workload,
    settings: new DurableValue(file('settings'), settingsRecord),
    baseline: new DurableValue(file('baseline'), baselineRecord),
    made: new DurableValue(file('made'), madeRecord),
    protection: new DurableValue(file('protection'), protectionRecord),
  });
  desk = new CommandDesk(new Map([['permits', workloadDesk]]));
});

afterAll(async () => {
  await workloadDesk.close();
  await agency.remove();
});

test('prepared, armed and released, the server is as it was before', async () => {
  // A limit of the agency's own, set by ALTER SYSTEM, and looser than what the disk allows: it must come back.
  await agency.query("ALTER SYSTEM SET max_slot_wal_keep_size = '900TB'");
  await agency.query('SELECT pg_reload_conf()');
  const before = await trace();

  const metro = await carry(prepareCommand, { ...common, role: 'metro', freshSlot: false });
  const regional = await carry(prepareCommand, { ...common, role: 'regional', freshSlot: false });
  expect(metro.server).toMatchObject({ majorVersion: agency.server.installation.majorVersion, superuser: 'postgres' });
  expect(metro.slotRestartLsn).not.toBeNull();
  expect(regional.user).toBe(names.regionalRole);
  const [limit] = await agency.query<{ mib: number }>(
    "SELECT setting::bigint AS mib FROM pg_settings WHERE name = 'max_slot_wal_keep_size'",
  );
  expect(Number(limit!.mib)).toBeLessThan(900 * 1024 * 1024);

  await expect(carry(armCommand, { ...common, mode: 'strict' })).rejects.toMatchObject({
    code: 'replication.metro-not-streaming',
  });
  const standby = await agency.startStandby(names, metro.password);
  await waitFor('arming', () => carry(armCommand, { ...common, mode: 'strict' }), { timeoutMs: 15_000 });
  await carry(armCommand, { ...common, mode: 'strict' });
  const armed = await agency.query("SELECT current_setting('synchronous_standby_names') AS names");
  expect(armed).toEqual([{ names: `FIRST 1 ("${names.metroApplication}","${names.lease}")` }]);

  // Released while it streams, and while commits wait for it: nothing of ours may wait with them.
  await standby.kill9();
  await carry(releaseCommand, { ...common, role: 'regional' });
  await carry(releaseCommand, { ...common, role: 'metro' });
  await carry(releaseCommand, { ...common, role: 'metro' });
  expect(await trace()).toEqual(before);
  await agency.query('ALTER SYSTEM RESET max_slot_wal_keep_size');
});

test('while the regional site leads, the metro is neither armed nor disarmed, and the regional’s release takes it back', async () => {
  await agency.query('SELECT pg_reload_conf()');
  await waitFor(
    'the settings of the test before',
    async () =>
      (await agency.query("SELECT FROM pg_settings WHERE name = 'max_slot_wal_keep_size' AND source = 'default'"))
        .length > 0,
    { timeoutMs: 5_000 },
  );
  const before = await trace();
  const metro = await carry(prepareCommand, { ...common, role: 'metro', freshSlot: false });
  await carry(prepareCommand, { ...common, role: 'regional', freshSlot: false });
  const standby = await agency.startStandby(names, metro.password, 'second');
  await waitFor('arming', () => carry(armCommand, { ...common, mode: 'strict' }), { timeoutMs: 15_000 });
  const led = `FIRST 1 ("${names.regionalApplication}","${names.lease}")`;
  const listed = async () =>
    (await agency.query<{ names: string }>("SELECT current_setting('synchronous_standby_names') AS names"))[0]!.names;
  const reload = () => agency.query('SELECT pg_reload_conf()');
  await agency.query(`ALTER SYSTEM SET synchronous_standby_names = '${led}'`);
  await reload();
  await waitFor('the change', async () => (await listed()) === led, { timeoutMs: 5_000 });
  const refused = { code: 'replication.regional-leads' };
  await expect(carry(armCommand, { ...common, mode: 'strict' })).rejects.toMatchObject(refused);
  // Filed, and not in force yet: the same.
  const connection = await agency.connect();
  await connection.query("ALTER SYSTEM SET synchronous_standby_names = ''");
  await connection.query('SELECT pg_reload_conf()');
  await waitFor('the change', async () => (await listed()) === '', { timeoutMs: 5_000 });
  await connection.query(`ALTER SYSTEM SET synchronous_standby_names = '${led}'`);
  await expect(carry(armCommand, { ...common, mode: 'strict' })).rejects.toMatchObject(refused);
  // Somebody is changing it.
  await connection.query('SELECT pg_advisory_lock(1296651127, 1852796275)');
  await expect(carry(armCommand, { ...common, mode: 'strict' })).rejects.toMatchObject({
    code: 'replication.names-busy',
  });
  await connection.end();
  await reload();
  await waitFor('the change', async () => (await listed()) === led, { timeoutMs: 5_000 });

  await carry(disarmCommand, common);
  await standby.kill9();
  await carry(releaseCommand, { ...common, role: 'metro' });
  expect(await listed()).toBe(led);
  await carry(releaseCommand, { ...common, role: 'regional' });
  expect(await trace()).toEqual(before);
});

test('preparing again keeps the slot and gives a new password; a lost or unwanted slot is made anew', async () => {
  const first = await carry(prepareCommand, { ...common, role: 'metro', freshSlot: false });
  await agency.query('SELECT pg_switch_wal()');
  await carry(checkpointCommand, { workloadName: 'permits' });
  const again = await carry(prepareCommand, { ...common, role: 'metro', freshSlot: false });
  expect(again.slotRestartLsn).toBe(first.slotRestartLsn);
  expect(again.password).not.toBe(first.password);
  const as = (password: string) =>
    connect({
      host: '127.0.0.1',
      port: agency.port,
      user: again.user,
      password,
      applicationName: 'site',
      replication: 'true',
    });
  await expect(as(first.password)).rejects.toMatchObject({ code: '28P01' });
  await (await as(again.password)).end();

  const fresh = await carry(prepareCommand, { ...common, role: 'metro', freshSlot: true });
  expect(fresh.slotRestartLsn).not.toBe(first.slotRestartLsn);
  const log = await readFile(path.join(agency.home, 'log'), 'utf8');
  expect(log).toContain('SCRAM-SHA-256');
  for (const { password } of [first, again, fresh]) expect(log).not.toContain(password);
  await carry(disarmCommand, common);
  await carry(releaseCommand, { ...common, role: 'metro' });
});

test('no site takes over a role or slot of the agency’s, whatever names it says', async () => {
  await agency.query(`CREATE ROLE permits_app LOGIN PASSWORD 'desk'`);
  const roles = () =>
    agency.query(
      'SELECT rolname, rolsuper, rolreplication, rolpassword FROM pg_authid WHERE NOT rolname ~ $$^pg_$$ ORDER BY 1',
    );
  const take = (over: Partial<typeof names>, command = prepareCommand.path) =>
    desk.carryOut(
      command,
      {
        ...common,
        role: 'metro',
        names: { ...names, ...over },
        ...(command === prepareCommand.path ? { freshSlot: false } : {}),
      },
      new AbortController().signal,
    );
  const foreign = { code: 'replication.names-foreign', kind: 'precondition' };
  const before = await roles();
  for (const path_ of [prepareCommand.path, releaseCommand.path]) {
    await expect(take({ metroRole: 'permits_app' }, path_)).rejects.toMatchObject(foreign);
    await expect(take({ metroRole: 'postgres' }, path_)).rejects.toMatchObject(foreign);
    await expect(take({ metroSlot: 'vendor_slot' }, path_)).rejects.toMatchObject(foreign);
    // One of ours in another's place.
    await expect(take({ metroRole: names.regionalRole }, path_)).rejects.toMatchObject(foreign);
  }
  expect(await roles()).toEqual(before);

  // In our form, but made by somebody else: an earlier agent's, or the agency's own by chance.
  const [role, slot] = [`mainstay_role_${'a'.repeat(20)}`, `mainstay_slot_${'a'.repeat(20)}`];
  await agency.query(`CREATE ROLE ${role} LOGIN REPLICATION`);
  await agency.query(`SELECT pg_create_physical_replication_slot('${slot}')`);
  for (const path_ of [prepareCommand.path, releaseCommand.path]) {
    await expect(take({ metroRole: role }, path_)).rejects.toMatchObject({ code: 'replication.role-not-ours' });
    await expect(take({ metroSlot: slot }, path_)).rejects.toMatchObject({ code: 'replication.slot-not-ours' });
  }
  await agency.query(`DROP ROLE ${role}`);
  await agency.query(`SELECT pg_drop_replication_slot('${slot}')`);

  // Its own that somebody has made a superuser.
  await take({});
  await agency.query(`ALTER ROLE ${names.metroRole} SUPERUSER`);
  for (const path_ of [prepareCommand.path, releaseCommand.path]) {
    await expect(take({}, path_)).rejects.toMatchObject({ code: 'replication.role-superuser' });
  }
  await agency.query(`ALTER ROLE ${names.metroRole} NOSUPERUSER`);
  await take({}, releaseCommand.path);
  expect(await roles()).toEqual(before);
  await agency.query('DROP ROLE permits_app');
});

test('a server that lets no site in says which line is missing', async () => {
  const hba = path.join(agency.server.directory, 'pg_hba.conf');
  const whole = await readFile(hba, 'utf8');
  await writeFile(hba, whole.replaceAll(/^host\s+replication.*$/gm, ''));
  await agency.query('SELECT pg_reload_conf()');
  await waitFor(
    'the refusal',
    () =>
      carry(prepareCommand, { ...common, role: 'metro', freshSlot: false }).then(
        () => false,
        (error: Error) => {
          expect(error.message).toContain('host replication all 127.0.0.1/32 scram-sha-256');
          return true;
        },
      ),
    { timeoutMs: 10_000 },
  );
  const report = await workloadDesk.preflight([], null);
  expect(report.findings.map(({ code }) => code)).toContain('hba.no-replication');
  await writeFile(hba, whole);
  await agency.query('SELECT pg_reload_conf()');
  await carry(releaseCommand, { ...common, role: 'metro' });
});

test('what is not listed, not known or not whole is refused by name', async () => {
  const ask = (route: string, body: object) => desk.carryOut(route, body, new AbortController().signal);
  await expect(ask('/v1/shell', {})).rejects.toMatchObject({ code: 'agent.command-unknown' });
  await expect(ask(disarmCommand.path, { ...common, workloadName: 'payroll' })).rejects.toMatchObject({
    code: 'workload.not-listed',
  });
  await expect(ask(disarmCommand.path, { workloadName: 'permits' })).rejects.toMatchObject({
    code: 'agent.command-invalid',
  });
});

test('a base backup is served in pieces', async () => {
  const of = (request: object) => ({ workloadId, workloadName: 'permits', request });
  const session = await carry(agentBackup.begin, of({ label: 'metro', sessionId: null }));
  const { sessionId } = session;
  expect(session.systemIdentifier).toBe((await agency.server.controlData()).systemIdentifier);
  const manifest = await carry(agentBackup.manifest, of({ sessionId, from: 0 }));
  const file = manifest.entries.find((each) => each.path === 'PG_VERSION')!;
  const answer = await desk.carryOut(
    agentBackup.read.path,
    of({ sessionId, ranges: [{ path: file.path, offset: 0, length: file.size }], compress: false }),
    new AbortController().signal,
  );
  if (!('bytes' in answer)) throw new Error('no bytes');
  const bytes = Buffer.concat((await answer.bytes.toArray()) as Buffer[]);
  expect(bytes.toString('latin1')).toContain('15\n');
  await carry(agentBackup.finish, of({ sessionId }));
  await carry(agentBackup.end, of({ sessionId }));
});

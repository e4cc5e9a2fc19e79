import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import {
  childProcesses,
  type PostgresClient,
  type PostgresServer,
  runAs,
  serverIdentity,
  signalProcess,
  toolEnvironment,
} from '#libs/platform/postgres';
import { DurableValue } from '#libs/sites/agent';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { AheadClock } from '#test/ahead-clock';
import { pulseEntry } from '#test/pulse';
import {
  DegradeReceiver,
  grantsRecord,
  KeptConnection,
  madeRecord,
  openConnection,
  OwnObjects,
  protectionRecord,
  ProtectedWorkload,
  ReplicationCommands,
  ServerSettings,
  settingsRecord,
  type PulseEntry,
} from './index.js';

let agency: TestAgency;
let metro: PostgresServer;
let superuser: PostgresClient;
let commands: ReplicationCommands;
const workloadId = randomUUID();
const open: ProtectedWorkload[] = [];
const clock = new AheadClock();

const entry = (over: Partial<PulseEntry> = {}): PulseEntry => pulseEntry({ workloadId, ...over });

async function watch(): Promise<{ workload: ProtectedWorkload; receiver: () => DegradeReceiver }> {
  let receiver: DegradeReceiver | undefined;
  const state = path.join(agency.home, `state-${randomUUID()}`);
  const workload = new ProtectedWorkload({
    workload: agency.workload,
    connection: new KeptConnection(agency.workload),
    receiver: (lease) => {
      const scratch = path.join(agency.home, `lease-${randomUUID()}`);
      receiver = new DegradeReceiver({ workload: agency.workload, lease, scratch }, clock);
      return receiver;
    },
    record: new DurableValue(path.join(state, 'protection.json'), protectionRecord),
    grants: new DurableValue(path.join(state, 'grants.json'), grantsRecord),
    fencing: { observe: async () => undefined, report: () => ({ fenced: null, divergence: null, alarms: [] }) },
    clock,
  });
  await workload.begin();
  open.push(workload);
  return { workload, receiver: () => receiver! };
}

const armed = (workload: ProtectedWorkload) =>
  waitFor('the workload to be armed', async () => (await workload.pulse(entry())).armed, { timeoutMs: 15_000 });

const commit = (client: PostgresClient) => client.query('INSERT INTO permit DEFAULT VALUES');

beforeAll(async () => {
  agency = await TestAgency.start();
  superuser = await openConnection(agency.workload);
  const file = (what: string) => path.join(agency.home, 'settings', what);
  const settings = new ServerSettings(agency.workload, new DurableValue(file('settings.json'), settingsRecord));
  const objects = new OwnObjects(new DurableValue(file('made.json'), madeRecord));
  commands = new ReplicationCommands(agency.workload, settings, objects, async () => superuser);
  await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY)');
  const { password } = await commands.prepare('metro', TEST_NAMES, false);
  metro = await agency.startStandby(TEST_NAMES, password);
  await waitFor('the metro to stream', () => commands.arm(TEST_NAMES).then(() => true), { timeoutMs: 15_000 });
});

afterAll(async () => {
  for (const each of open) await each.close();
  await superuser.end();
  await agency.remove();
});

test('armed is answered only for the one genuine walsender, and an impostor is an alarm', async () => {
  const { workload } = await watch();
  await armed(workload);
  const answer = await workload.pulse(entry());
  expect(answer).toMatchObject({ reachable: true, armed: true, notArmedBecause: null, inRecovery: false, timeline: 1 });
  expect(answer.alarms).toEqual([]);
  expect(answer.slots).toContainEqual(expect.objectContaining({ name: TEST_NAMES.metroSlot, active: true }));

  const impostor = spawn(
    path.join(agency.server.installation.binDirectory, 'pg_receivewal'),
    [
      '--synchronous',
      '-n',
      '-D',
      agency.home,
      '-d',
      `host=${path.join(agency.home, 'run')} port=${agency.port} user=postgres application_name=${TEST_NAMES.metroApplication}`,
    ],
    { env: toolEnvironment(await serverIdentity()), stdio: 'ignore', ...runAs(await serverIdentity()) },
  );
  try {
    const caught = await waitFor(
      'the impostor to be seen',
      async () => {
        const seen = await workload.pulse(entry());
        return seen.alarms.some(({ code }) => code === 'replication.impostor') && seen;
      },
      { timeoutMs: 10_000 },
    );
    expect(caught.armed).toBe(false);
  } finally {
    impostor.kill('SIGKILL');
  }
  await armed(workload);
});

test('names that somebody changed are not armed, and say so', async () => {
  const { workload } = await watch();
  await armed(workload);
  await agency.query(`ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ("${TEST_NAMES.metroApplication}")'`);
  await agency.query('SELECT pg_reload_conf()');
  const changed = await waitFor(
    'the change to be seen',
    async () => {
      const seen = await workload.pulse(entry());
      return !seen.armed && seen;
    },
    { timeoutMs: 10_000 },
  );
  expect(changed.alarms.map(({ code }) => code)).toContain('replication.synchronous-names-changed');
  await commands.arm(TEST_NAMES);
  await armed(workload);
});

test('a frozen server is known as unreachable within a second, and the pulse does not hang', async () => {
  const { workload } = await watch();
  await armed(workload);
  const { pid } = (await agency.server.running())!;
  const backend = (
    await agency.query<{ pid: number }>("SELECT pid FROM pg_stat_activity WHERE application_name = 'mainstay-agent'")
  ).map(({ pid: each }) => each);
  for (const each of [pid, ...backend]) signalProcess(each, 'SIGSTOP');
  try {
    const answer = await workload.pulse(entry());
    expect(answer).toMatchObject({ reachable: false, armed: false, lsn: null });
    expect(answer.alarms.map(({ code }) => code)).toEqual(['server.unreachable']);
    const announced = await workload.pulse(entry({ rebootUntil: new Date(Date.now() + 60_000).toISOString() }));
    expect(announced.alarms).toEqual([]);
  } finally {
    for (const each of [pid, ...backend]) signalProcess(each, 'SIGCONT');
  }
  await armed(workload);
});

test('strict: only a grant lets commits go on, for its lease; the metro uses it up by coming back', async () => {
  const { workload, receiver } = await watch();
  await armed(workload);
  const client = await agency.connect();
  await metro.kill9();
  let returned = false;
  const waiting = commit(client).then(() => (returned = true));
  await waitFor(
    'the metro to be missed',
    async () => {
      clock.ahead += 4_000;
      const answer = await workload.pulse(entry());
      return answer.alarms.some(({ code }) => code === 'replication.stalled') && answer.disarmRequest === null;
    },
    { timeoutMs: 10_000 },
  );
  expect(receiver().running).toBe(false);
  expect(returned).toBe(false);

  const grant = { requestId: randomUUID(), leaseSeconds: 60 };
  const granted = await workload.pulse(entry({ disarmed: grant }));
  expect(granted).toMatchObject({ armed: false, degraded: { since: expect.any(String) as string } });
  await waiting;

  await agency.startStandbyServer(metro);
  await waitFor('the metro to use the grant up', async () => (await workload.pulse(entry({ disarmed: grant }))).armed, {
    timeoutMs: 20_000,
  });
  expect(receiver().running).toBe(false);
  // The same grant, told again by a late pulse, is worth nothing.
  expect((await workload.pulse(entry({ disarmed: grant }))).armed).toBe(true);
  await commit(client);
  await client.end();
});

test('available: it asks the metro, and goes on alone only when the metro is silent and its promise has run out', async () => {
  const { workload, receiver } = await watch();
  const available = entry({ mode: 'available' });
  await waitFor('it to be armed', async () => (await workload.pulse(available)).armed, { timeoutMs: 15_000 });
  const client = await agency.connect();
  await metro.kill9();
  const waiting = commit(client);
  await waitFor(
    'it to ask',
    async () => {
      clock.ahead += 1_000;
      return (await workload.pulse(available)).disarmRequest;
    },
    { timeoutMs: 20_000 },
  );
  // The metro hears it, so its word counts: nothing happens without it.
  await workload.tick();
  expect(receiver().running).toBe(false);
  clock.ahead += 4_000;
  await workload.tick();
  expect(receiver().running).toBe(true);
  await waiting;

  // A promotion that begins revokes it at once, and what it let through is over before the answer.
  const refused = await workload.pulse({ ...available, refuseLease: true });
  expect(refused).toMatchObject({ armed: false, degraded: null });
  clock.ahead += 60_000;
  await workload.tick();
  expect(receiver().running).toBe(false);
  await agency.startStandbyServer(metro);
  await waitFor('it to be armed again', async () => (await workload.pulse(available)).armed, { timeoutMs: 20_000 });
  await client.end();
});

test('a metro that is frozen keeps its place until it is ended: granted, commits go on all the same', async () => {
  const { workload } = await watch();
  const available = entry({ mode: 'available' });
  await waitFor('it to be armed', async () => (await workload.pulse(available)).armed, { timeoutMs: 15_000 });
  const { pid } = (await metro.running())!;
  const frozen = [pid, ...(await childProcesses(pid)).map((child) => child.pid)];
  for (const each of frozen) signalProcess(each, 'SIGSTOP');
  const client = await agency.connect();
  try {
    const waiting = commit(client);
    const asked = await waitFor(
      'it to ask',
      async () => {
        clock.ahead += 1_000;
        return (await workload.pulse(available)).disarmRequest;
      },
      { timeoutMs: 20_000 },
    );
    const disarmed = { requestId: asked.requestId, leaseSeconds: 10 };
    expect((await workload.pulse({ ...available, disarmed })).degraded).not.toBeNull();
    await waiting;
  } finally {
    for (const each of frozen) signalProcess(each, 'SIGCONT');
  }
  await waitFor('it to be armed again', async () => (await workload.pulse(available)).armed, { timeoutMs: 20_000 });
  await client.end();
});

test('a promise binds a new process too: it cannot know what the last one said', async () => {
  const first = await watch();
  await waitFor('armed', async () => (await first.workload.pulse(entry({ mode: 'available' }))).armed, {
    timeoutMs: 15_000,
  });
  await metro.kill9();
  const { workload, receiver } = await watch();
  await workload.pulse(entry({ mode: 'available' }));
  // Stalled for long, and no pulse comes; but the promise of its start still binds for twelve seconds.
  clock.ahead += 10_000;
  await workload.tick();
  expect(receiver().running).toBe(false);
  clock.ahead += 2_500;
  await workload.tick();
  expect(receiver().running).toBe(true);
  await workload.close();
  await agency.startStandbyServer(metro);
  await armed(first.workload);
});

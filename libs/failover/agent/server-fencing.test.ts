import { randomUUID } from 'node:crypto';
import { appendFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SystemClock, waitFor } from '#libs/platform/clock';
import { connect, findPostgres, PostgresServer, signalProcess } from '#libs/platform/postgres';
import { synchronousNames, type PulseEntry } from '#libs/replication/agent';
import { DurableValue } from '#libs/sites/agent';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { pulseEntry } from '#test/pulse';
import { fencingRecord, passGate, ServerFencing } from './index.js';

let agency: TestAgency;
const workloadId = randomUUID();
const file = () => path.join(agency.home, 'state', 'fencing.json');
let ended = 0;

async function fencing(): Promise<ServerFencing> {
  const made = new ServerFencing({
    workload: agency.workload,
    server: async () => PostgresServer.at(await findPostgres(), agency.server.directory),
    record: new DurableValue(file(), fencingRecord),
    logDirectory: path.join(agency.home, 'divergent-log'),
    clock: new SystemClock(),
    beforeFence: async () => void (ended += 1),
  });
  await made.begin();
  return made;
}

const entry = (epoch: number, promotedAtLsn: string | null = null): PulseEntry =>
  pulseEntry({ workloadId, epoch, promotedAtLsn, promotedTimeline: promotedAtLsn === null ? null : 2 });

/** As a technician would, past the agent and the gate. */
async function startByHand(): Promise<void> {
  await agency.startServer();
}

const local = () =>
  connect({ host: path.join(agency.home, 'run'), port: agency.port, user: 'postgres', applicationName: 'clerk' });

beforeAll(async () => {
  agency = await TestAgency.start({ archive_mode: 'on', archive_command: '/bin/true' });
  await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY)');
  // As the metro's does, it keeps the log from where the site has stopped receiving.
  await agency.query(`SELECT pg_create_physical_replication_slot('${TEST_NAMES.metroSlot}', true)`);
});

afterAll(async () => {
  await agency.remove();
});

test('a confirmed epoch lets the server be, a held site confirms none; an older order cannot fence it', async () => {
  const guard = await fencing();
  await guard.observe({ ...entry(4), confirms: false });
  expect(guard.epoch).toBeNull();
  await guard.observe(entry(4));
  const confirmedAt = guard.confirmedAt;
  await guard.observe({ ...entry(4), confirms: false });
  expect(guard.confirmedAt).toBe(confirmedAt);
  expect(guard.report()).toEqual({ fenced: null, divergence: null, alarms: [] });
  expect(guard.epoch).toBe(4);
  await expect(
    guard.fence({ workloadId, epoch: 4, promotedAtLsn: null, promotedTimeline: null }),
  ).rejects.toMatchObject({ code: 'fence.epoch-outdated' });
  await guard.observe(entry(3));
  expect(await agency.server.isRunning()).toBe(true);
});

test('a disk on which nothing can be written does not keep a server from being fenced', async () => {
  const blocked = path.join(agency.home, 'full');
  const guard = new ServerFencing({
    workload: { ...agency.workload, dataDirectory: path.join(agency.home, 'nowhere') },
    server: () => Promise.reject(new Error('no such server')),
    record: new DurableValue(path.join(blocked, 'fencing.json'), fencingRecord),
    logDirectory: path.join(agency.home, 'none'),
    clock: new SystemClock(),
    beforeFence: async () => void (ended += 100),
  });
  await guard.begin();
  await writeFile(blocked, 'a file where the directory should be');
  await guard.observe(entry(1));
  await guard.observe(entry(2));
  expect(ended).toBe(100);
  expect(guard.report().alarms.map(({ code }) => code)).toEqual(['agent.state-unwritable', 'fence.not-stopped']);
  await rm(blocked);
  await guard.observe(entry(2));
  expect(guard.report().alarms.map(({ code }) => code)).toEqual(['fence.not-stopped']);
  ended = 0;
});

test('an unbeknown server beside a promoted site is the old one', async () => {
  const alone = new ServerFencing({
    workload: { ...agency.workload, dataDirectory: path.join(agency.home, 'nowhere') },
    server: () => Promise.reject(new Error('no such server')),
    record: new DurableValue(path.join(agency.home, 'state', 'lost.json'), fencingRecord),
    logDirectory: path.join(agency.home, 'none'),
    clock: new SystemClock(),
    beforeFence: async () => undefined,
  });
  await alone.observe(entry(2, '0/3000000'));
  // It cannot be stopped here, and says so with each pulse.
  expect(alone.report()).toMatchObject({ fenced: { epoch: 2 }, alarms: [{ code: 'fence.not-stopped' }] });
});

test('a newer epoch stops the server, lists what only it has, and no start of it can write', async () => {
  const fork = (await agency.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn'))[0]!.lsn;
  const own: string[] = [];
  for (let count = 0; count < 3; count++) {
    const rows = await agency.query<{ xid: string }>('INSERT INTO permit DEFAULT VALUES RETURNING xmin::text AS xid');
    own.push(rows[0]!.xid);
  }
  // A commit that waits for nobody, from a client that stays connected.
  const client = await local();
  await client.query('SET synchronous_commit = local; INSERT INTO permit DEFAULT VALUES');

  const guard = await fencing();
  await guard.observe(entry(5, fork));
  await guard.settled();
  expect(ended).toBe(1);
  expect(await agency.server.isRunning()).toBe(false);
  await expect(client.query('INSERT INTO permit DEFAULT VALUES')).rejects.toThrow();
  await guard.settled();
  const { fenced, divergence, alarms } = guard.report();
  expect(fenced).toMatchObject({ epoch: 5, evidence: expect.stringContaining('fast stop') as string });
  expect(alarms).toEqual([]);
  expect(divergence).toMatchObject({ workloadId, epoch: 5, forkedAtLsn: fork, truncated: false });
  expect(divergence!.transactions.map(({ xid }) => xid)).toEqual(expect.arrayContaining(own));
  expect(divergence!.transactions).toHaveLength(4);
  expect(divergence!.transactions[0]!.committedAt).toMatch(/^\d{4}-\d\d-\d\d .* UTC$/);
  expect(await readdir(path.join(agency.home, 'divergent-log'))).not.toEqual([]);

  const order = { workloadId, epoch: 5, promotedAtLsn: null, promotedTimeline: null };
  const { lsn } = await guard.fence(order);
  expect(lsn).toMatch(/^0\//);
  await startByHand();
  expect((await agency.server.controlData()).state).toBe('in archive recovery');
  await agency.server.stop('fast');
  expect((await agency.server.controlData()).state).toBe('shut down in recovery');
  // It has replayed its own log, and all that it had is still before where it ended as a primary.
  expect(await (await fencing()).fence(order)).toMatchObject({ stopped: true, lsn });
  await startByHand();
  await expect(local()).rejects.toThrow(/pg_hba.conf rejects/);
  await expect(
    connect({ host: '127.0.0.1', port: agency.port, user: 'postgres', password: 'town', applicationName: 'x' }),
  ).rejects.toThrow(/pg_hba.conf rejects/);
});

test('a restarted agent knows it, and fences again what somebody has opened by hand', async () => {
  await agency.server.stop('fast');
  await rm(path.join(agency.server.directory, 'standby.signal'));
  await startByHand();
  expect((await agency.server.controlData()).state).toBe('in production');
  const guard = await fencing();
  expect(guard.report().fenced).toMatchObject({ epoch: 5 });
  await guard.observe(entry(5));
  await guard.settled();
  expect(await agency.server.isRunning()).toBe(false);
  await startByHand();
  expect((await agency.server.controlData()).state).toBe('in archive recovery');
  await guard.settled();
});

test('killed in the middle, the fence is carried out by the next process', async () => {
  const record = new DurableValue(file(), fencingRecord);
  const known = (await record.read())!;
  await agency.server.stop('immediate');
  await rm(path.join(agency.server.directory, 'standby.signal'));
  await startByHand();
  await record.write({ ...known, fenced: { ...known.fenced!, done: false } });
  const guard = await fencing();
  expect(guard.report().alarms).toMatchObject([{ code: 'fence.not-stopped' }]);
  await guard.observe(entry(5));
  await guard.settled();
  expect(await agency.server.isRunning()).toBe(false);
  expect(guard.report().alarms).toEqual([]);
});

test('the gate: fenced never, unconfirmed after the time-out, strict only when the server starts armed', async () => {
  const fenced = await new DurableValue(file(), fencingRecord).read();
  const protection = { workloadId, mode: 'strict' as const, names: TEST_NAMES };
  const base = { protection, fencing: undefined, dataDirectory: agency.server.directory, timeoutMs: 100 };
  const silent = () => Promise.reject(new Error('no tunnel'));
  const answering = (state: 'confirmed' | 'fenced') => () => Promise.resolve({ state });

  expect(await passGate({ ...base, fencing: fenced, ask: silent })).toMatchObject({ open: false });
  expect(await passGate({ ...base, ask: answering('fenced') })).toMatchObject({ open: false });
  expect(await passGate({ ...base, ask: answering('confirmed') })).toMatchObject({ open: true, alarm: false });
  expect(await passGate({ ...base, protection: undefined, ask: silent })).toMatchObject({ open: true, alarm: false });
  // Strict, but nobody armed it: it could acknowledge alone.
  expect(await passGate({ ...base, ask: silent })).toMatchObject({ open: true, alarm: true });
  const auto = path.join(agency.server.directory, 'postgresql.auto.conf');
  const filed = (setting: string) => appendFile(auto, `synchronous_standby_names = '${setting}'\n`);
  for (const leader of ['metro', 'regional'] as const) {
    await filed('');
    expect(await passGate({ ...base, ask: silent })).toMatchObject({ open: true, alarm: true });
    // Whichever site leads: the server waits for it.
    await filed(synchronousNames(TEST_NAMES, leader));
    expect(await passGate({ ...base, ask: silent })).toMatchObject({ open: true, alarm: false });
  }
  const available = { ...protection, mode: 'available' as const };
  expect(await passGate({ ...base, protection: available, ask: silent })).toMatchObject({ open: true, alarm: true });
});

test('a server that ignores a fast stop is stopped all the same', async () => {
  const other = await TestAgency.start();
  try {
    const { pid } = (await other.server.running())!;
    signalProcess(pid, 'SIGSTOP');
    const guard = new ServerFencing({
      workload: other.workload,
      server: async () => other.server,
      record: new DurableValue(path.join(other.home, 'state', 'fencing.json'), fencingRecord),
      logDirectory: path.join(other.home, 'divergent-log'),
      clock: new SystemClock(),
      beforeFence: async () => undefined,
    });
    const request = { workloadId, epoch: 2, promotedAtLsn: null, promotedTimeline: null };
    await guard.fence(request);
    await guard.settled();
    // Asked again, it answers how it stands.
    expect(await guard.fence(request)).toMatchObject({ stopped: true, lsn: null });
    expect(guard.report()).toMatchObject({ fenced: { epoch: 2 }, alarms: [] });
    await waitFor('it to be gone', async () => !(await other.server.isRunning()), { timeoutMs: 5_000 });
    // An orderly end of the closed server later tells nothing of what it had as a primary.
    await other.startServer();
    await other.server.stop('fast');
    expect((await other.server.controlData()).state).toBe('shut down in recovery');
    expect(await guard.fence(request)).toMatchObject({ stopped: true, lsn: null });
  } finally {
    await other.remove();
  }
});

import { spawn } from 'node:child_process';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SystemClock, waitFor } from '#libs/platform/clock';
import { childProcesses, isAlive, type PostgresClient, signalProcess } from '#libs/platform/postgres';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { DegradeReceiver } from './degrade-receiver.js';

let agency: TestAgency;
let client: PostgresClient;

const receiverAt = (scratch: string) =>
  new DegradeReceiver({ workload: agency.workload, lease: TEST_NAMES.lease, scratch }, new SystemClock());
const streams = async () =>
  (await agency.query(`SELECT FROM pg_stat_replication WHERE application_name = '${TEST_NAMES.lease}'`)).length === 1;

beforeAll(async () => {
  agency = await TestAgency.start();
  await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY)');
  // Nobody but the receiver can answer: the metro is away.
  await agency.query(
    `ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ("${TEST_NAMES.metroApplication}","${TEST_NAMES.lease}")'`,
  );
  await agency.query('SELECT pg_reload_conf()');
  client = await agency.connect();
});

afterAll(async () => {
  await agency.remove();
  await client.end().catch(() => undefined);
});

test('while it runs commits return; when its lease is over it is gone, and they wait again', async () => {
  const receiver = receiverAt(path.join(agency.home, 'lease'));
  let returned = 0;
  const commit = () => client.query('INSERT INTO permit DEFAULT VALUES').then(() => (returned += 1));
  const first = commit();
  await receiver.hold(1_000);
  expect(receiver.running).toBe(true);
  await first;
  await waitFor('the lease to end it', async () => !receiver.running && !(await streams()), { timeoutMs: 5_000 });
  expect(receiver.quietSince).toBeGreaterThan(0);
  const second = commit();
  await waitFor('the commit to wait', waits, { timeoutMs: 5_000 });
  expect(returned).toBe(1);
  await receiver.hold(60_000);
  await second;
  await receiver.stop();
  expect(receiver.running).toBe(false);
  await waitFor('the server to know', async () => !(await streams()), { timeoutMs: 5_000 });
});

test('kill -9 of its watcher ends it, by the kernel', async () => {
  const scratch = path.join(agency.home, 'lease-watched');
  const receiver = receiverAt(scratch);
  await receiver.hold(60_000);
  await waitFor('it to stream', streams, { timeoutMs: 5_000 });
  const watcher = (await childProcesses(process.pid)).find(({ title }) => title.includes(scratch));
  signalProcess(watcher!.pid, 'SIGKILL');
  await waitFor('it to be gone', async () => !receiver.running && !(await streams()), { timeoutMs: 5_000 });
});

test('kill -9 of the process that holds it ends it: the watcher hears the end of its input', async () => {
  const watcher = path.join(import.meta.dirname, 'lease-watcher.ts');
  // Stands in for the tunnel: starts the watcher, holds its input open, and is killed.
  const holder = spawn(
    process.execPath,
    [
      '-e',
      `const { spawn } = require('node:child_process');
       const child = spawn(process.execPath, process.argv.slice(1), { stdio: ['pipe', 'ignore', 'ignore'] });
       child.stdin.write('until ' + (Number(process.hrtime.bigint() / 1000000n) + 60000) + '\\n');
       setInterval(() => undefined, 1000);`,
      watcher,
      path.join(agency.home, 'lease-held'),
      '-',
      '/bin/sleep',
      '600',
    ],
    { stdio: 'ignore' },
  );
  const found = async (parent: number) => (await childProcesses(parent))[0]?.pid;
  const watching = await waitFor('the watcher to run', () => found(holder.pid!), { timeoutMs: 5_000 });
  const held = await waitFor('what it watches to run', () => found(watching), { timeoutMs: 5_000 });
  holder.kill('SIGKILL');
  await waitFor('both to end', async () => !(await isAlive(held)) && !(await isAlive(watching)), { timeoutMs: 5_000 });
});

test('a receiver that cannot start says why', async () => {
  const receiver = new DegradeReceiver(
    { workload: { ...agency.workload, port: 1 }, lease: TEST_NAMES.lease, scratch: path.join(agency.home, 'no') },
    new SystemClock(),
  );
  await receiver.hold(60_000);
  await waitFor('it to give up', () => !receiver.running, { timeoutMs: 10_000 });
  expect(receiver.lastFault).toMatch(/could not connect|connection to server/);
});

async function waits(): Promise<boolean> {
  const rows = await agency.query("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
  return rows.length > 0;
}

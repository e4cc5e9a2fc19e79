import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../clock/wait.js';
import {
  connect,
  findPostgres,
  freePort,
  isAlive,
  ownedDirectory,
  PostgresNotFoundError,
  type PostgresClient,
  PostgresServer,
  PostgresToolError,
  processOrigin,
  quoteIdentifier,
  quoteLiteral,
  renderConfiguration,
  renderHba,
  runTool,
  serverIdentity,
  signalProcess,
  withClient,
} from './index.js';

let root: string;
let server: PostgresServer;
let port: number;
const logFile = () => path.join(root, 'server.log');
const startOptions = () => ({
  port,
  socketDirectory: path.join(root, 'run'),
  logFile: logFile(),
  options: { listen_addresses: '127.0.0.1', fsync: false },
});
const as = (password = "it's a \\ secret") => ({
  host: '127.0.0.1',
  port,
  user: 'town clerk',
  password,
  applicationName: 'server test',
});

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'mainstay-server-'));
  await ownedDirectory(root);
  server = await PostgresServer.at(await findPostgres(), path.join(root, 'data'));
  await server.initialise({ superuser: 'town clerk', password: "it's a \\ secret", noSync: true });
  port = await freePort();
});

afterAll(async () => {
  await server.kill9();
  await rm(root, { recursive: true, force: true });
});

test('a missing version is named with the line that installs it', async () => {
  await expect(findPostgres({ version: 9 })).rejects.toThrow(PostgresNotFoundError);
  await expect(findPostgres({ version: 9 })).rejects.toThrow('apt-get install -y postgresql-9');
});

test('initialising twice keeps the cluster, and a crash in between leaves none', async () => {
  const before = await server.controlData();
  await server.initialise({});
  expect((await server.controlData()).systemIdentifier).toBe(before.systemIdentifier);
  expect(before).toMatchObject({ dataChecksums: true, timeline: 1, state: 'shut down', walSegmentBytes: 16 << 20 });
  expect((await stat(server.directory)).mode & 0o777).toBe(0o700);
});

test('a server outlives the process that started it, and the next one takes it over', async () => {
  // kill -9 of the parent is stood in for by a child process that starts the server and is killed.
  const script = `
    const { PostgresServer, findPostgres } = await import('#libs/platform/postgres');
    const server = await PostgresServer.at(await findPostgres(), process.argv[1]);
    await server.start(JSON.parse(process.argv[2]));
    console.log('started');
    setInterval(() => {}, 1000);`;
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', script, server.directory, JSON.stringify(startOptions())],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`ended with ${code}`)));
  });
  child.removeAllListeners('exit');
  child.kill('SIGKILL');
  await waitFor('the parent to be gone', async () => !(await isAlive(child.pid ?? 0)), { timeoutMs: 5_000 });
  const taken = await server.start(startOptions());
  expect(taken).toMatchObject({ port, status: 'ready' });
  expect((await processOrigin(taken.pid))?.program).toBe('postgres');
  const name = quoteIdentifier('odd "name"');
  await withClient(as(), async (client) => {
    await client.query(`CREATE TABLE ${name} (note text)`);
    await client.query(`INSERT INTO ${name} VALUES (${quoteLiteral("back\\slash 'quote'")})`);
    const { rows } = await client.query(`SELECT note, current_setting('application_name') AS app FROM ${name}`);
    expect(rows).toEqual([{ note: "back\\slash 'quote'", app: 'server test' }]);
  });
});

test('a wrong password is refused, and a broken connection does not end the process', async () => {
  await expect(connect(as('wrong'))).rejects.toMatchObject({ code: '28P01' });
  const client = await connect(as());
  const backend = await backendPid(client);
  await withClient(as(), (other) => other.query('SELECT pg_terminate_backend($1)', [backend]));
  await expect(client.query('SELECT 1')).rejects.toThrow();
  await client.end().catch(() => undefined);
});

test('killed with -9 it comes back with its data; an orphaned backend does not keep it from starting', async () => {
  await server.kill9();
  expect(await server.isRunning()).toBe(false);
  const { pid } = await server.start(startOptions());
  const client = await connect(as());
  const backend = await backendPid(client);
  const busy = client.query('SELECT count(*) FROM generate_series(1, 1000000000)').catch(() => 'cut off');
  await waitFor('the query to run', () => isBusy(backend), { timeoutMs: 5_000 });
  signalProcess(pid, 'SIGKILL');
  await waitFor('the postmaster to die', async () => !(await isAlive(pid)), { timeoutMs: 5_000 });
  const again = await server.start(startOptions());
  expect(again.pid).not.toBe(pid);
  expect(await busy).toBe('cut off');
  await withClient(as(), async (other) => expect((await other.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]));
});

test('another process under the pid of a dead server is neither taken for it nor harmed', async () => {
  await server.stop('fast');
  expect((await server.controlData()).state).toBe('shut down');
  const identity = await serverIdentity();
  const bystander = spawn('/bin/sleep', ['600'], { ...(identity.switched ? { uid: identity.uid } : {}) });
  try {
    await writeFile(path.join(server.directory, 'postmaster.pid'), `${bystander.pid}\n${server.directory}\n0\n1\n`);
    expect(await server.isRunning()).toBe(false);
    await server.stop('immediate');
    await server.start(startOptions());
    expect(await isAlive(bystander.pid ?? 0)).toBe(true);
  } finally {
    bystander.kill('SIGKILL');
  }
  await server.stop('immediate');
});

test('a setting that PostgreSQL refuses is reported with the end of its log', async () => {
  await server.stop('fast');
  await writeFile(path.join(server.directory, 'postgresql.conf'), renderConfiguration({ wal_level: 'nonsense' }));
  await expect(server.start(startOptions())).rejects.toMatchObject({
    code: 'postgres.server',
    detail: expect.stringContaining('wal_level') as string,
  });
  await writeFile(
    path.join(server.directory, 'postgresql.conf'),
    renderConfiguration({ cluster_name: "town's \\ own", hot_standby: true }),
  );
  await writeFile(
    path.join(server.directory, 'pg_hba.conf'),
    renderHba([
      { type: 'host', database: 'all', user: 'town', address: '127.0.0.1/32', method: 'reject' },
      { type: 'host', database: 'all', user: 'all', address: '127.0.0.1/32', method: 'scram-sha-256' },
    ]),
  );
  await server.start(startOptions());
  await withClient(as(), async (client) => {
    const { rows } = await client.query('SHOW cluster_name');
    expect(rows).toEqual([{ cluster_name: "town's \\ own" }]);
  });
  expect(() => renderConfiguration({ cluster_name: 'a\nssl = off' })).toThrow(RangeError);
});

test('a failing tool tells why, without the secrets it was given', async () => {
  const { binDirectory } = server.installation;
  const failing = runTool(
    path.join(binDirectory, 'psql'),
    ['-h', '127.0.0.1', '-p', '1', '-d', 'dbname=x password=hunter2 port=99999999'],
    { env: { PGPASSWORD: 'hunter3' } },
  );
  await expect(failing).rejects.toThrow(PostgresToolError);
  const error = (await failing.catch((reason: unknown) => reason)) as PostgresToolError;
  expect(error.detail).not.toMatch(/hunter/);
  await expect(runTool('/bin/sleep', ['60'], { timeoutMs: 50 })).rejects.toMatchObject({ reason: 'timeout' });
  await expect(runTool('/bin/sleep', ['60'], { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
    reason: 'aborted',
  });
  expect(await readFile(logFile(), 'utf8')).not.toContain("it's a");
});

async function backendPid(client: PostgresClient): Promise<number> {
  return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]!.pid;
}

async function isBusy(pid: number): Promise<boolean> {
  const probe = await connect(as());
  try {
    const { rows } = await probe.query("SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", [pid]);
    return rows.length === 1;
  } finally {
    await probe.end();
  }
}

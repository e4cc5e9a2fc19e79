import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fenceCommand, preflightCommand, prepareCommand, preflightReport } from '#contracts/replication';
import type { TunnelGateway } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { isAlive, signalProcess } from '#libs/platform/postgres';
import { AgentControl } from '#test/agent-control';
import { AGENT_MAIN as MAIN, ENROL_TOKEN as TOKEN, openGateway, pidIn as readPid } from '#test/agent-program';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { pulseEntry, pulseOver } from '#test/pulse';

let agency: TestAgency;
let gateway: TunnelGateway;
let control: AgentControl;
let home: string;
let controlUrl: string;
const agentId = randomUUID();
const workloadId = randomUUID();
const site = { siteId: randomUUID(), name: 'metro', host: '127.0.0.1', port: 0, certificateFingerprint: '' };
const assignment = () => ({
  agentId,
  tenantId: randomUUID(),
  agencyName: 'Town of Ashby',
  sites: [site],
  workloads: [
    { workloadId, name: 'permits', names: { ...TEST_NAMES }, legs: [{ siteId: site.siteId, role: 'metro' as const }] },
  ],
  preflights: [],
});
const children: ChildProcess[] = [];

interface Ended {
  readonly code: number;
  readonly out: string;
}

function agent(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args, '--config', home], (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, out: `${stdout}${stderr}` });
    });
  });
}

function run(): ChildProcess {
  const child = spawn(process.execPath, [MAIN, 'run', '--config', home], {
    stdio: 'ignore',
  });
  children.push(child);
  return child;
}

const pidIn = (file: string) => readPid(home, file);
const linked = () =>
  waitFor('both lanes', () => gateway.links().length === 2 && gateway.links(), { timeoutMs: 20_000 });

const pulse = (epoch: number) => pulseOver(gateway, agentId, pulseEntry({ workloadId, mode: 'available', epoch }));

beforeAll(async () => {
  agency = await TestAgency.start();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-agent-'));
  await chmod(home, 0o711);
  const opened = await openGateway(() => control.publicKey);
  gateway = opened.gateway;
  Object.assign(site, { port: opened.port, certificateFingerprint: opened.certificateFingerprint });
  control = new AgentControl(TOKEN, assignment);
  controlUrl = await control.listen();
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  const tunnel = await pidIn('tunnel.pid').catch(() => 0);
  if (tunnel) signalProcess(tunnel, 'SIGKILL');
  await gateway.close();
  control.close();
  await agency.remove();
  await rm(home, { recursive: true, force: true });
});

test('enroll: a refused token says what to do; a lost answer costs nothing; the key never leaves', async () => {
  const wrong = await agent('enroll', '--token', 'mainstay_enrol_wrong_wrong_wrong', '--control-url', controlUrl);
  expect(wrong).toMatchObject({ code: 1, out: expect.stringContaining('make a new one') as string });
  expect(wrong.out).toContain('use --token-file');
  const tokenFile = path.join(home, 'token');
  await writeFile(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  const enroll = () => agent('enroll', '--token-file', tokenFile, '--control-url', controlUrl);
  control.loseNextAnswer = true;
  const lost = await enroll();
  expect(lost).toMatchObject({ code: 1, out: expect.stringContaining('give the same command again') as string });
  const first = control.publicKey;
  const done = await enroll();
  expect(done.out).toContain('Enrolled for Town of Ashby');
  expect(done.code).toBe(0);
  expect(control.publicKey).toBe(first);
  expect((await stat(path.join(home, 'key.pem'))).mode & 0o777).toBe(0o600);
  expect(await enroll()).toMatchObject({ code: 1 });
});

test('check: faults of agent.json by name, and what stands in the way of protection', async () => {
  await writeFile(path.join(home, 'agent.json'), '{"workloads": [{"name": "Permits"}]}');
  const faulty = await agent('check');
  expect(faulty.code).toBe(1);
  expect(faulty.out).toMatch(/workloads\.0\.name: must be lower-case[^]*workloads\.0\.dataDirectory/);
  await writeFile(path.join(home, 'agent.json'), JSON.stringify({ workloads: [agency.workload] }));
  expect(await agent('check')).toMatchObject({
    code: 0,
    out: expect.stringContaining('permits: can be protected') as string,
  });
  await agency.query('ALTER SYSTEM SET full_page_writes = off');
  await agency.query('SELECT pg_reload_conf()');
  const blocked = await agent('check', 'permits', '--json');
  expect(blocked.code).toBe(2);
  expect(blocked.out).toContain('full-page-writes.off');
  await agency.query('ALTER SYSTEM RESET full_page_writes');
  await agency.query('SELECT pg_reload_conf()');
  expect(await agent('status')).toMatchObject({ code: 1, out: expect.stringContaining('not running') as string });
});

test('run: links, pulses, commands and streams; a second run is refused', async () => {
  run();
  await linked();
  const answer = await waitFor('a pulse', () => pulse(1), { timeoutMs: 10_000 });
  expect(answer).toMatchObject({
    reachable: true,
    armed: false,
    notArmedBecause: expect.stringContaining('no site') as string,
  });
  const ask = (route: string, json: object) => gateway.request(agentId, 'bulk', route, json, { timeoutMs: 30_000 });
  const report = await waitFor(
    'a command',
    () => ask(preflightCommand.path, { workloadName: 'permits', supportedMajors: [], expectedNames: null }),
    { timeoutMs: 15_000 },
  );
  expect(preflightReport.parse(report).ok).toBe(true);
  await expect(ask('/v1/shell', {})).rejects.toMatchObject({ code: 'agent.command-unknown' });

  const prepared = prepareCommand.output.parse(
    await ask(prepareCommand.path, {
      workloadId,
      workloadName: 'permits',
      role: 'metro',
      names: TEST_NAMES,
      freshSlot: false,
    }),
  );
  expect(prepared.user).toBe(TEST_NAMES.metroRole);
  // The server itself answers at the other end of a stream: PostgreSQL says N to a request for TLS.
  const stream = await gateway.open(agentId, 'permits', 'sync');
  stream.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
  const [said] = (await once(stream, 'data')) as [Buffer];
  expect(said.toString()).toBe('N');
  stream.destroy();
  await expect(gateway.open(agentId, 'payroll', 'sync')).rejects.toMatchObject({ code: 'link.workload-refused' });

  const status = await agent('status');
  expect(status.out).toMatch(/Town of Ashby[^]*metro +sync +up since[^]*permits: available, NOT armed/);
  const second = await agent('run');
  expect(second).toMatchObject({ code: 1, out: expect.stringContaining('already runs') as string });
});

test('the tunnel lives on when run is killed, and the next run takes it over', async () => {
  const tunnel = await pidIn('tunnel.pid');
  const supervisor = await pidIn('run.pid');
  const [before] = await linked();
  signalProcess(supervisor, 'SIGKILL');
  await waitFor('run to be gone', async () => !(await isAlive(supervisor)), { timeoutMs: 5_000 });
  expect(await pulse(1)).toMatchObject({ reachable: true });
  const body = { workloadName: 'permits', supportedMajors: [], expectedNames: null };
  const refused = gateway.request(agentId, 'bulk', preflightCommand.path, body, { timeoutMs: 5_000 });
  await expect(refused).rejects.toMatchObject({ kind: 'unavailable', code: 'agent.part-down' });
  run();
  await waitFor(
    'the new run to answer',
    () => gateway.request(agentId, 'bulk', preflightCommand.path, body, { timeoutMs: 10_000 }),
    { timeoutMs: 20_000 },
  );
  expect(await pidIn('tunnel.pid')).toBe(tunnel);
  expect((await linked())[0]!.instanceId).toBe(before!.instanceId);
});

test('a tunnel that is killed, or hangs, is replaced', async () => {
  const first = await pidIn('tunnel.pid');
  signalProcess(first, 'SIGKILL');
  const second = await waitFor(
    'a new tunnel',
    async () => {
      const pid = await pidIn('tunnel.pid');
      return pid !== first && pid;
    },
    { timeoutMs: 20_000 },
  );
  await waitFor('it to work', async () => (await agent('status')).code === 0, { timeoutMs: 20_000 });
  signalProcess(second, 'SIGSTOP');
  await waitFor('another one', async () => ![first, second].includes(await pidIn('tunnel.pid')), { timeoutMs: 40_000 });
  await waitFor('a pulse', () => pulse(1), { timeoutMs: 20_000 });
});

test("the gate opens on a site's word, and never after a fence; the fence answers in time", async () => {
  let confirming = true;
  const pulsing = (async () => {
    // Each as a site sends them, one after another: whether one came through, the gate's answer shows.
    while (confirming) await pulse(1).catch(() => undefined);
  })();
  expect(await agent('gate', 'permits')).toMatchObject({
    code: 0,
    out: expect.stringContaining('confirmed') as string,
  });
  confirming = false;
  await pulsing;
  const unsure = await agent('gate', 'permits', '--timeout', '1');
  expect(unsure).toMatchObject({ code: 0, out: expect.stringContaining('with an alarm') as string });
  await waitFor('the alarm', async () => (await agent('status')).out.includes('no site could say'), {
    timeoutMs: 20_000,
  });

  await waitFor(
    'a confirmation to end it',
    async () => (await pulse(1)).alarms.every(({ code }) => code !== 'gate.unconfirmed-start'),
    { timeoutMs: 20_000 },
  );

  const fenced = fenceCommand.output.parse(
    await gateway.request(
      agentId,
      'sync',
      fenceCommand.path,
      { workloadId, workloadName: 'permits', epoch: 2 },
      { timeoutMs: 5_000 },
    ),
  );
  expect(fenced.evidence).toMatch(/stopped/);
  await waitFor('the server to be stopped', async () => !(await agency.server.isRunning()), { timeoutMs: 10_000 });
  expect(await pulse(2)).toMatchObject({ reachable: false, armed: false, fenced: { epoch: 2 } });
  expect(await agent('gate', 'permits')).toMatchObject({
    code: 3,
    out: expect.stringContaining('must not start') as string,
  });
  expect((await agent('status')).out).toContain('FENCED');
  await expect(gateway.open(agentId, 'permits', 'sync')).rejects.toMatchObject({ code: 'link.workload-refused' });
});

test('an orderly stop ends both processes', async () => {
  const pids = [await pidIn('run.pid'), await pidIn('tunnel.pid')];
  signalProcess(pids[0]!, 'SIGTERM');
  await waitFor('both to end', async () => (await Promise.all(pids.map(isAlive))).every((alive) => !alive), {
    timeoutMs: 20_000,
  });
});

import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { armCommand, fenceCommand, preflightCommand, prepareCommand } from '#contracts/replication';
import type { AgentAssignment, AssignedWorkload, SiteRole } from '#contracts/sites';
import { waitFor } from '#libs/platform/clock';
import { isAlive, signalProcess } from '#libs/platform/postgres';
import { enrol, StateDirectory } from '#libs/sites/agent';
import { AgentControl } from '#test/agent-control';
import {
  AGENT_MAIN as MAIN,
  ENROL_TOKEN as TOKEN,
  openGateway,
  pidIn as readPid,
  type OpenGateway,
} from '#test/agent-program';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { pulseEntry, pulseOver } from '#test/pulse';

const SOON = { timeoutMs: 30_000 };
const REFUSED = { code: 'agent.site-not-assigned', kind: 'forbidden' };
const agentId = randomUUID();
const workloadId = randomUUID();
const about = { workloadId, workloadName: 'permits' };

/** A warm site's gateway, and whatever a test has it ask. */
class AskingSite {
  readonly siteId = randomUUID();

  private constructor(
    readonly name: string,
    private readonly opened: OpenGateway,
  ) {}

  static async open(name: string): Promise<AskingSite> {
    return new AskingSite(name, await openGateway(() => control.publicKey));
  }

  get gateway() {
    return this.opened.gateway;
  }

  get target() {
    const { port, certificateFingerprint } = this.opened;
    return { siteId: this.siteId, name: this.name, host: '127.0.0.1', port, certificateFingerprint };
  }

  ask(command: string, json: object): Promise<unknown> {
    return this.gateway.request(agentId, 'bulk', command, json, { timeoutMs: 30_000 });
  }

  prepare(role: SiteRole, over: object = {}): Promise<unknown> {
    return this.ask(prepareCommand.path, { ...about, role, names: TEST_NAMES, freshSlot: false, ...over });
  }

  preflight(): Promise<unknown> {
    return this.ask(preflightCommand.path, { workloadName: 'permits', supportedMajors: [], expectedNames: null });
  }

  fence(epoch: number): Promise<unknown> {
    return this.gateway.request(agentId, 'sync', fenceCommand.path, { ...about, epoch }, { timeoutMs: 30_000 });
  }

  pulse(role: SiteRole, over: Parameters<typeof pulseEntry>[0] = {}) {
    return pulseOver(this.gateway, agentId, pulseEntry({ workloadId, role, ...over }));
  }
}

let agency: TestAgency;
let control: AgentControl;
let metro: AskingSite;
let regional: AskingSite;
let home: string;
let assignment: AgentAssignment;
let agent: ChildProcess;

const pidIn = (file: string) => readPid(home, file);
const linked = () =>
  waitFor('all lanes', () => [metro, regional].every(({ gateway }) => gateway.links().length === 2), SOON);
const assign = (legs: AssignedWorkload['legs']) => {
  assignment.workloads = [{ workloadId, name: 'permits', names: { ...TEST_NAMES }, legs }];
};
const bothLegs = () => [
  { siteId: metro.siteId, role: 'metro' as const },
  { siteId: regional.siteId, role: 'regional' as const },
];
/** Has the agent ask the control plane, by a question that is none of the site's business. */
const news = async () => {
  const expectedNames = { ...TEST_NAMES, lease: `mainstay_lease_${'c'.repeat(20)}` };
  const asked = metro.ask(preflightCommand.path, { workloadName: 'permits', supportedMajors: [], expectedNames });
  await expect(asked).rejects.toMatchObject(REFUSED);
};
const run = () => {
  agent = spawn(process.execPath, [MAIN, 'run', '--config', home], { stdio: 'ignore' });
};

beforeAll(async () => {
  agency = await TestAgency.start();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-agent-'));
  await chmod(home, 0o711);
  control = new AgentControl(TOKEN, () => assignment);
  [metro, regional] = [await AskingSite.open('metro'), await AskingSite.open('regional')];
  const sites = [metro.target, regional.target];
  assignment = { agentId, tenantId: randomUUID(), agencyName: 'Ashby', sites, workloads: [], preflights: [] };
  await enrol({ directory: new StateDirectory(home), token: TOKEN, controlUrl: await control.listen(), version: '1' });
  await writeFile(path.join(home, 'agent.json'), JSON.stringify({ workloads: [agency.workload] }));
  run();
  await linked();
});

afterAll(async () => {
  agent.kill('SIGKILL');
  const tunnel = await pidIn('tunnel.pid').catch(() => 0);
  if (tunnel) signalProcess(tunnel, 'SIGKILL');
  await Promise.all([metro.gateway.close(), regional.gateway.close()]);
  control.close();
  await agency.remove();
  await rm(home, { recursive: true, force: true });
});

test('a site that serves nothing gets nothing: no copy, no stream, no fence, no word in a pulse', async () => {
  await expect(metro.prepare('metro')).rejects.toMatchObject(REFUSED);
  await expect(metro.ask('/v1/checkpoint', { workloadName: 'permits' })).rejects.toMatchObject(REFUSED);
  await expect(metro.preflight()).rejects.toMatchObject(REFUSED);
  await expect(metro.fence(2_147_483_647)).rejects.toMatchObject(REFUSED);
  await expect(metro.gateway.open(agentId, 'permits', 'sync')).rejects.toThrow();
  const answer = await waitFor(
    'the control plane’s no',
    async () => {
      const said = await metro.pulse('metro', { promotedAtLsn: '0/1', promotedTimeline: 2, epoch: 9 });
      return said.alarms.length > 0 && said;
    },
    SOON,
  );
  expect(answer).toMatchObject({ reachable: false, lsn: null, fenced: null });
  expect(answer.alarms.map(({ code }) => code)).toEqual(['agent.site-not-assigned']);
  expect(await agency.server.isRunning()).toBe(true);
  expect(await agency.query('SELECT FROM pg_replication_slots')).toEqual([]);
});

test('a preflight is for the site that the control plane names, and leads to nothing else', async () => {
  assignment.preflights = [{ siteId: regional.siteId, workloadName: 'permits' }];
  // The agent learns of it when the site asks.
  expect(await regional.preflight()).toMatchObject({ ok: true });
  await expect(metro.preflight()).rejects.toMatchObject(REFUSED);
  await expect(regional.prepare('regional')).rejects.toMatchObject(REFUSED);
  assignment.preflights = [];
});

test('each site as what it is assigned as: a regional cannot pose as the metro', async () => {
  assign(bothLegs());
  const known = async (work: () => Promise<unknown>) =>
    work().then(
      () => true,
      (error: unknown) => {
        expect(error).toMatchObject(REFUSED);
        return false;
      },
    );
  await waitFor('the assignment', () => known(() => metro.prepare('metro')), SOON);
  await regional.prepare('regional');
  expect(await metro.pulse('metro')).toMatchObject({ reachable: true });
  expect(await regional.pulse('regional')).toMatchObject({ reachable: true });

  const posing = await regional.pulse('metro', { disarmed: { requestId: randomUUID(), leaseSeconds: 30 } });
  expect(posing).toMatchObject({ reachable: false, notArmedBecause: expect.stringContaining('as regional') as string });
  await expect(regional.prepare('metro')).rejects.toMatchObject(REFUSED);
  await expect(regional.ask(armCommand.path, { ...about, names: TEST_NAMES, mode: 'strict' })).rejects.toMatchObject(
    REFUSED,
  );
  const names = { ...TEST_NAMES, metroRole: `mainstay_role_${'b'.repeat(20)}` };
  await expect(metro.prepare('metro', { names })).rejects.toMatchObject(REFUSED);
  expect(await metro.pulse('metro', { names })).toMatchObject({ reachable: false });
  await expect(metro.prepare('metro', { workloadId: randomUUID() })).rejects.toMatchObject(REFUSED);
  // What it may, it still may.
  expect(await metro.pulse('metro')).toMatchObject({ reachable: true, alarms: [] });
});

test('a site that is not assigned any more loses its streams', async () => {
  const stream = await regional.gateway.open(agentId, 'permits', 'sync');
  stream.on('error', () => undefined);
  stream.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
  await once(stream, 'data');
  const ended = new Promise((resolve) => stream.once('close', resolve));
  assign(bothLegs().slice(0, 1));
  await news();
  await ended;
  await expect(regional.gateway.open(agentId, 'permits', 'sync')).rejects.toThrow();
  assign(bothLegs());
  await news();
  expect(await regional.pulse('regional')).toMatchObject({ reachable: true });
});

test('without the control plane the last assignment counts, also after a restart: pulses go on, and a fence is obeyed', async () => {
  control.close();
  const tunnel = await pidIn('tunnel.pid');
  for (const pid of [agent.pid!, tunnel]) signalProcess(pid, 'SIGKILL');
  await waitFor('both to be gone', async () => !(await isAlive(tunnel)) && !(await isAlive(agent.pid!)), SOON);
  run();
  for (const [site, role] of [
    [metro, 'metro'],
    [regional, 'regional'],
  ] as const) {
    // A link of the killed process's may still seem to stand.
    const answers = () =>
      site.pulse(role).then(
        ({ reachable }) => reachable,
        () => false,
      );
    await waitFor(`the ${role} site to be answered`, answers, SOON);
  }
  await expect(regional.prepare('metro')).rejects.toMatchObject(REFUSED);
  expect(await regional.fence(2)).toMatchObject({ evidence: expect.any(String) as string });
  await waitFor('the server to be stopped', async () => !(await agency.server.isRunning()), SOON);
  expect(await metro.pulse('metro')).toMatchObject({ fenced: { epoch: 2 } });
});

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type ArchiveCommand,
  archiveCheckCommand,
  beginWorkCommand,
  cancelWorkCommand,
  handExitCommand,
  lookWorkCommand,
} from '#contracts/archive';
import { preflightCommand } from '#contracts/replication';
import type { AgentAssignment } from '#contracts/sites';
import { certificateFingerprint, createAuthority, issueCertificate, TunnelGateway } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { isAlive, signalProcess } from '#libs/platform/postgres';
import { enrol, StateDirectory } from '#libs/sites/agent';
import { AgentControl } from '#test/agent-control';
import { backupOf, secureVault, TestArchive, type TestAuthority } from '#test/archiving-agent';

/** The built program, as a service starts it. */
const MAIN = path.resolve(import.meta.dirname, '../../dist/apps/agent/main.js');
const TOKEN = 'mainstay_enrol_0123456789abcdefghijklmnop';
const SOON = { timeoutMs: 40_000 };
const REFUSED = { code: 'agent.site-not-assigned', kind: 'forbidden' };
const NAME = 'share';
const agentId = randomUUID();
const siteId = randomUUID();

let place: TestAuthority;
let archive: TestArchive;
let gateway: TunnelGateway;
let control: AgentControl;
let assignment: AgentAssignment;
let home: string;
let share: string;
let agent: ChildProcess;

const inHome = (...parts: string[]) => path.join(home, ...parts);
const linked = () => waitFor('both lanes', () => gateway.links().length === 2, SOON);
const running = () => readdir(inHome('archive', 'running'));

async function start(): Promise<void> {
  agent = spawn(process.execPath, [MAIN, 'run', '--config', home], { stdio: 'ignore' });
  await linked();
}

function cli(...args: string[]): Promise<{ code: number; out: string; said: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args, '--config', home], (error, out, said) => {
      resolve({ code: error ? Number(error.code) : 0, out, said });
    });
  });
}

async function ask<I, O>(command: ArchiveCommand<I, O>, input: I): Promise<O> {
  return command.output.parse(await gateway.request(agentId, 'bulk', command.path, input, SOON));
}

const about = () => ({ workloadId: archive.workloadId, workloadName: NAME });
const begin = (workId: string, work = backupOf('files')) =>
  ask(beginWorkCommand, { ...about(), workId, access: archive.access, work });
const look = (workId: string) => ask(lookWorkCommand, { ...about(), workId });
const ended = (workId: string) => waitFor('the end', async () => (await look(workId)).result, SOON);

beforeAll(async () => {
  place = await secureVault();
  archive = await TestArchive.open(place, 'customer-held');
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-agent-'));
  await chmod(home, 0o711);
  share = inHome('..', `${path.basename(home)}-share`);
  await mkdir(share);
  await writeFile(path.join(share, 'large'), randomBytes(48 * 2 ** 20));
  const { certificate, privateKey } = await issueCertificate(await createAuthority('test'), {
    commonName: 'gateway',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
  });
  gateway = new TunnelGateway({
    tls: { key: privateKey, certificate },
    host: '127.0.0.1',
    port: 0,
    authenticate: async () => ({ accepted: true, publicKey: control.publicKey }),
  });
  const { port } = await gateway.listen();
  const site = {
    siteId,
    name: 'metro',
    host: '127.0.0.1',
    port,
    certificateFingerprint: certificateFingerprint(certificate),
  };
  assignment = {
    agentId,
    tenantId: randomUUID(),
    agencyName: 'Town of Ashby',
    sites: [site],
    // A leg of a workload is no right to its archive.
    workloads: [{ workloadId: archive.workloadId, name: NAME, names: {}, legs: [{ siteId, role: 'metro' }] }],
    preflights: [{ siteId, workloadName: NAME }],
  };
  control = new AgentControl(TOKEN, () => assignment);
  const controlUrl = await control.listen();
  await enrol({ directory: new StateDirectory(home), token: TOKEN, controlUrl, version: 'test' });
  const workloads = [
    { name: NAME, kind: 'files', paths: [path.normalize(share)] },
    { name: 'papers', kind: 'files', paths: [path.normalize(share)] },
  ];
  await writeFile(inHome('agent.json'), JSON.stringify({ workloads }));
  await start();
});

afterAll(async () => {
  agent.kill('SIGKILL');
  const tunnel = Number.parseInt(await readFile(inHome('tunnel.pid'), 'utf8').catch(() => ''), 10);
  if (Number.isInteger(tunnel)) signalProcess(tunnel, 'SIGKILL');
  await gateway.close();
  control.close();
  await place.vault.stop();
  for (const each of [home, share]) await rm(each, { recursive: true, force: true });
});

test('only a site that archives the workload may have its archive worked on', async () => {
  const check = { ...about(), source: 'files', keyMode: 'customer-held' } as const;
  await expect(ask(archiveCheckCommand, check)).rejects.toMatchObject(REFUSED);
  await expect(begin(randomUUID())).rejects.toMatchObject(REFUSED);
  assignment = { ...assignment, archives: [{ siteId: randomUUID(), workloadId: archive.workloadId, name: NAME }] };
  await expect(ask(archiveCheckCommand, check)).rejects.toMatchObject(REFUSED);
  assignment = { ...assignment, archives: [{ siteId, workloadId: randomUUID(), name: NAME }] };
  await expect(ask(archiveCheckCommand, check)).rejects.toMatchObject(REFUSED);
  const mine = { siteId, workloadId: archive.workloadId, name: NAME, keyMode: 'customer-held' as const };
  assignment = { ...assignment, archives: [mine] };
  expect(await ask(archiveCheckCommand, check)).toMatchObject({ hasPassword: false, findings: [] });
  await expect(ask(archiveCheckCommand, { ...check, workloadName: 'papers' })).rejects.toMatchObject(REFUSED);
  await expect(ask(archiveCheckCommand, { ...check, workloadName: 'payroll' })).rejects.toMatchObject({
    code: 'workload.not-listed',
  });
  await expect(gateway.request(agentId, 'bulk', '/v1/archive/shell', {}, SOON)).rejects.toMatchObject({
    code: 'agent.command-unknown',
  });
  // Folders are not replicated, whatever is asked.
  const preflight = { workloadName: NAME, supportedMajors: [], expectedNames: null };
  await expect(gateway.request(agentId, 'bulk', preflightCommand.path, preflight, SOON)).rejects.toMatchObject({
    code: 'workload.not-listed',
  });
});

test('before the first run of a customer-held archive too, a site that brings its own password gets nothing', async () => {
  const rogue = await TestArchive.open(place, 'escrowed');
  const workId = randomUUID();
  const brought = ask(beginWorkCommand, { ...about(), workId, access: rogue.access, work: backupOf('files') });
  await expect(brought).rejects.toMatchObject({ ...REFUSED, message: expect.stringContaining('of its own') as string });
  expect(await look(workId)).toMatchObject({ state: 'absent' });
  expect(await rogue.snapshots()).toEqual([]);
});

test('an agent that is killed in the midst leaves no restic and no lock, and its next one begins anew', async () => {
  const lost = randomUUID();
  await begin(lost, backupOf('files', { limits: { bandwidthBytesPerSecond: 1_048_576 } }));
  await waitFor('progress', async () => ((await look(lost)).progress?.bytesDone ?? 0) > 0, SOON);
  const { pid } = JSON.parse(await readFile(inHome('archive', 'running', lost, 'restic.pid'), 'utf8')) as {
    pid: number;
  };
  expect(await isAlive(pid)).toBe(true);
  for (const name of ['password', 'repository']) {
    expect((await stat(inHome('archive', 'running', lost, name))).mode & 0o777).toBe(0o600);
  }
  agent.kill('SIGKILL');
  await waitFor('the agent to be gone', async () => !(await isAlive(agent.pid!)), SOON);
  await start();
  expect(await waitFor('an answer', () => look(lost), SOON)).toMatchObject({ state: 'absent' });
  expect(await isAlive(pid)).toBe(false);
  expect(await running()).toEqual([]);
  await begin(lost);
  await begin(lost);
  expect(await ended(lost)).toMatchObject({ state: 'completed', snapshots: [{ files: 1 }] });
  const { password } = JSON.parse(await readFile(inHome('workloads', NAME, 'archive-password.json'), 'utf8')) as {
    password: string;
  };
  expect(JSON.parse(await archive.restic(['snapshots', '--json'], 'restic', password))).toHaveLength(1);
  expect(await archive.restic(['list', 'locks', '--no-lock'], 'restic', password)).toBe('');
});

test('an orderly stop ends the work too, and a cancel of what is not there is no fault', async () => {
  const stopped = randomUUID();
  await begin(stopped, backupOf('files', { limits: { bandwidthBytesPerSecond: 1_048_576 } }));
  await waitFor('restic', async () => (await running()).includes(stopped), SOON);
  agent.kill('SIGTERM');
  await waitFor('the agent to be gone', async () => !(await isAlive(agent.pid!)), SOON);
  expect(await running()).toEqual([]);
  await start();
  expect(await waitFor('an answer', () => look(stopped), SOON)).toMatchObject({ state: 'absent' });
  await ask(cancelWorkCommand, { ...about(), workId: stopped });
});

test('the person at the machine sees what runs, keeps the password, and can leave with stock restic', async () => {
  const done = randomUUID();
  await begin(done);
  await ended(done);
  expect((await cli('archive', 'status')).out).toMatch(/^restic \d[^]*share: backup completed at/);
  expect((await cli('check', NAME)).out).toContain('share: can be archived');
  expect(await cli('archive', 'exit', NAME)).toMatchObject({
    code: 1,
    said: expect.stringContaining('Ask for the exit') as string,
  });
  const shown = await cli('archive', 'password', NAME);
  expect(shown.said).toContain('keep it in a safe');
  const password = shown.out.trim();
  expect(await cli('archive', 'password', 'papers')).toMatchObject({ code: 1 });
  const safe = inHome('from-the-safe');
  await writeFile(safe, `${password}\n`);
  expect(await cli('archive', 'password', 'papers', '--put', safe)).toMatchObject({ code: 0 });
  await writeFile(safe, 'another');
  expect(await cli('archive', 'password', NAME, '--put', safe)).toMatchObject({ code: 1 });

  const until = new Date(Date.now() + 3_600_000).toISOString();
  const access = await archive.as('read');
  await ask(handExitCommand, { ...about(), exitId: randomUUID(), access, until });
  const exit = await cli('archive', 'exit', NAME);
  expect(exit.out + exit.said).not.toContain(access.secret);
  const leaving = inHome('our-archive');
  const command = exit.out.replaceAll('/srv/our-archive', leaving);
  await new Promise((resolve, reject) =>
    execFile('/bin/sh', ['-ec', command], (error, _out, said) =>
      error ? reject(new Error(said)) : resolve(undefined),
    ),
  );
  const file = ['--password-file', inHome('workloads', NAME, 'exit', 'password')];
  const all = await new Promise<string>((resolve, reject) =>
    execFile('restic', ['-r', leaving, ...file, 'snapshots', '--json'], (error, out) =>
      error ? reject(error) : resolve(out),
    ),
  );
  expect(JSON.parse(all)).toHaveLength(2);
});

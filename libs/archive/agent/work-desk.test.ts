import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { isAlive } from '#libs/platform/postgres';
import { ChaosProxy } from '#test/chaos-proxy';
import { AgentUnderTest, backupOf, secureVault, TestArchive, type TestAuthority } from '#test/archiving-agent';
import { notePid } from './restic/leftovers.js';
import { noteStaging } from './work/work-store.js';

const NAME = 'share';
const FAST = { bandwidthBytesPerSecond: 16 * 2 ** 20 };
const SLOW = { bandwidthBytesPerSecond: 1_048_576 };
let place: TestAuthority;
let home: string;
let agent: AgentUnderTest;

beforeAll(async () => {
  place = await secureVault();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-desk-'));
  await writeFile(path.join(home, 'large'), randomBytes(48 * 2 ** 20));
  await writeFile(path.join(home, 'small'), 'small');
  agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }]);
});
afterAll(async () => {
  await agent.remove();
  await place.vault.stop();
  await rm(home, { recursive: true, force: true });
});

const moving = (archive: TestArchive, workId: string) =>
  waitFor('progress', async () => ((await agent.look(archive, NAME, workId)).progress?.bytesDone ?? 0) > 0, {
    timeoutMs: 30_000,
  });

test('a work is begun once by its id, one at a time on a repository, and its result is kept until it is forgotten', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const workId = randomUUID();
  await agent.begin(archive, NAME, backupOf('files'), { workId });
  await agent.begin(archive, NAME, backupOf('files'), { workId });
  await expect(agent.begin(archive, NAME, backupOf('files'))).rejects.toMatchObject({ code: 'archive.busy' });
  const result = await agent.ended(archive, NAME, workId);
  await agent.begin(archive, NAME, backupOf('files'), { workId });
  expect(await archive.snapshots()).toHaveLength(1);
  expect(await agent.look(archive, NAME, workId)).toMatchObject({ state: 'ended', result });

  // An agent that is started anew still has it; another workload's site learns nothing of it, and cannot forget it.
  const next = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }], {}, agent.home);
  const stranger = await TestArchive.open(place, 'escrowed');
  expect(await next.look(stranger, NAME, workId)).toMatchObject({ state: 'absent', result: null });
  await next.forget(stranger, NAME, workId);
  expect(await next.look(archive, NAME, workId)).toMatchObject({ state: 'ended', result });
  await next.forget(archive, NAME, workId);
  expect(await next.look(archive, NAME, workId)).toMatchObject({ state: 'absent' });
  expect(await readdir(agent.state.archive('running'))).toEqual([]);
});

test('a work that is cancelled ends, without a lock or a secret left behind', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const workId = await agent.begin(archive, NAME, backupOf('files', { limits: SLOW }));
  await moving(archive, workId);
  expect(await archive.locks()).toHaveLength(1);
  const [own = ''] = await readdir(agent.state.archive('running'));
  const { pid } = JSON.parse(await readFile(agent.state.archive('running', own, 'restic.pid'), 'utf8')) as {
    pid: number;
  };
  const arguments_ = await readFile(`/proc/${pid}/cmdline`, 'utf8');
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8');
  for (const secret of [archive.access.secret, archive.access.password!]) {
    expect(arguments_ + environment).not.toContain(secret);
  }
  await agent.cancel(archive, NAME, workId);
  expect(await agent.ended(archive, NAME, workId)).toMatchObject({ state: 'cancelled', snapshots: [], failure: null });
  expect(await archive.locks()).toEqual([]);
  expect(await readdir(agent.state.archive('running'))).toEqual([]);
  expect(await agent.work(archive, NAME, backupOf('files'))).toMatchObject({ state: 'completed' });
});

test('an orderly stop ends a work without a result: its site begins it anew', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const other = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }]);
  const workId = await other.begin(archive, NAME, backupOf('files', { limits: SLOW }));
  await waitFor('a lock', async () => (await archive.locks()).length > 0, { timeoutMs: 30_000 });
  await other.stop();
  expect(await archive.locks()).toEqual([]);
  const next = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }], {}, other.home);
  expect(await next.look(archive, NAME, workId)).toMatchObject({ state: 'absent' });
  await next.remove();
});

test('what an agent that died left running is ended by the next, by its place and not by its number alone', async () => {
  const other = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }]);
  await other.stop();
  const leave = async (workId: string) => {
    const directory = other.state.archive('running', workId);
    await mkdir(directory, { recursive: true });
    // As restic with a dump that works elsewhere.
    const script = '(cd / && exec sleep 600) & echo $! >dump; exec sleep 600';
    const child = spawn('/bin/sh', ['-c', script], { cwd: directory, stdio: 'ignore', detached: true });
    notePid(directory, child.pid!);
    const dump = async () => Number(await readFile(path.join(directory, 'dump'), 'utf8'));
    return { child, dump: await waitFor('the dump', dump, { timeoutMs: 10_000 }) };
  };
  const left = await leave(randomUUID());
  // A number that another process has by now: noted in the folder, at work elsewhere, begun at another time.
  const stranger = spawn('/bin/sleep', ['600'], { stdio: 'ignore', detached: true });
  const taken = other.state.archive('running', randomUUID());
  await mkdir(taken, { recursive: true });
  await writeFile(path.join(taken, 'restic.pid'), JSON.stringify({ pid: stranger.pid, started: '1' }));
  const folder = path.join(home, '.mainstay-restore-x');
  await mkdir(folder);
  await noteStaging(taken, [folder, path.join(home, 'large')]);
  const next = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }], {}, other.home);
  for (const pid of [left.child.pid!, left.dump]) {
    await waitFor('it to be gone', async () => !(await isAlive(pid)), { timeoutMs: 10_000 });
  }
  expect(await isAlive(stranger.pid!)).toBe(true);
  expect(await readdir(next.state.archive('running'))).toEqual([]);
  expect((await readdir(home)).sort()).toEqual(['large', 'small']);
  stranger.kill('SIGKILL');
  await next.remove();
});

test('a line that is cut is waited for, and the work goes on', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const line = new ChaosProxy({ host: '127.0.0.1', port: place.vault.service.port });
  const url = `https://127.0.0.1:${await line.listen()}/${archive.access.repositoryId}/`;
  const access = { ...archive.access, url };
  const workId = await agent.begin(archive, NAME, backupOf('files', { limits: FAST }), { access });
  await moving(archive, workId);
  line.cut();
  expect(await agent.look(archive, NAME, workId)).toMatchObject({ state: 'running' });
  expect(await agent.ended(archive, NAME, workId)).toMatchObject({ state: 'completed', faultCount: 0 });
  await archive.restic(['check', '--read-data']);
  await line.close();
});

test('without a usable restic, a work fails and says what to install', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const broken = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }], { restic: '/bin/false' });
  const result = await broken.work(archive, NAME, backupOf('files'));
  expect(result).toMatchObject({ state: 'failed', failure: { code: 'archive.no-restic' } });
  expect(result.failure?.message).toContain('apt-get install -y restic');
  await broken.remove();
});

import { randomBytes, randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { handExitCommand, listTreeCommand } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import {
  AgentUnderTest,
  backupOf,
  restoreOf,
  secureVault,
  TestArchive,
  type TestAuthority,
} from '#test/archiving-agent';
import { readExit } from './exit.js';

const NAME = 'share';
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

test('what only the agency can open is listed, forgotten, checked and taken out at its agent', async () => {
  const archive = await TestArchive.open(place, 'customer-held');
  const first = await agent.work(archive, NAME, backupOf('files'));
  await appendFile(path.join(home, 'small'), ' change');
  const second = await agent.work(archive, NAME, backupOf('files'));
  const [older = '', newer = ''] = [first, second].map(({ snapshots }) => snapshots[0]!.id);
  const about = { workloadId: archive.workloadId, workloadName: NAME };
  const page = (after: string | null, limit: number) =>
    agent.ask(listTreeCommand, { ...about, access: archive.access, snapshotId: newer, path: home, after, limit });
  expect(await page(null, 1)).toMatchObject({
    more: true,
    entries: [{ name: 'large', type: 'file', bytes: 48 * 2 ** 20 }],
  });
  expect(await page('large', 1)).toMatchObject({ more: false, entries: [{ name: 'small' }] });
  expect(await agent.work(archive, NAME, { kind: 'check', part: 1, of: 1 })).toMatchObject({ state: 'completed' });

  const refused = await agent.work(archive, NAME, { kind: 'forget', snapshotIds: [older] });
  expect(refused).toMatchObject({ state: 'failed', failure: { code: 'archive.vault-refused' } });

  const until = new Date(Date.now() + 3_600_000).toISOString();
  const access = await archive.as('read');
  await agent.ask(handExitCommand, { ...about, exitId: randomUUID(), access, until });
  const exit = await readExit(agent.state, NAME);
  expect(exit?.until).toBe(until);
  expect(exit?.command).not.toContain(access.secret);
  const restored = path.join(agent.state.restored, 'all');
  const back = await agent.work(archive, NAME, restoreOf(newer, { target: { kind: 'folder', path: restored } }), {
    access,
  });
  expect(back).toMatchObject({ state: 'completed', filesRestored: 2 });
  expect(await readFile(path.join(restored, home, 'small'), 'utf8')).toBe('small change');
});

test('without a usable restic, a work fails and says what to install', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const broken = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }], { restic: '/bin/false' });
  const result = await broken.work(archive, NAME, backupOf('files'));
  expect(result).toMatchObject({ state: 'failed', failure: { code: 'archive.no-restic' } });
  expect(result.failure?.message).toContain('apt-get install -y restic');
  await broken.remove();
});

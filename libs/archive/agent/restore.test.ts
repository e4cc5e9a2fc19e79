import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  AgentUnderTest,
  backupOf,
  restoreOf,
  secureVault,
  TestArchive,
  type TestAuthority,
} from '#test/archiving-agent';

const NAME = 'share';
let place: TestAuthority;
let home: string;
let share: string;
let agent: AgentUnderTest;
let archive: TestArchive;
let point: string;

const at = (...parts: string[]) => path.join(share, ...parts);
const text = (...parts: string[]) => readFile(at(...parts), 'utf8');

async function fill(): Promise<void> {
  await rm(share, { recursive: true, force: true });
  await mkdir(at('plans', 'old'), { recursive: true });
  await chmod(at('plans'), 0o711);
  await writeFile(at('plans', 'north.doc'), 'north');
  await writeFile(at('plans', 'old', 'south.doc'), 'south');
  await writeFile(at('we[i]rd *$HOME '), 'odd');
  await symlink('plans/north.doc', at('link'));
}

beforeAll(async () => {
  place = await secureVault();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-share-'));
  share = path.join(home, 'share');
  await fill();
  agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [share] }], {
    restoreTo: [path.join(home, 'restored')],
  });
  archive = await TestArchive.open(place, 'escrowed');
  const { snapshots } = await agent.work(archive, NAME, backupOf('files'));
  point = snapshots[0]!.id;
});
beforeEach(fill);
afterAll(async () => {
  await agent.remove();
  await place.vault.stop();
  await rm(home, { recursive: true, force: true });
});

test('a lost folder comes back with its rights, by a credential that only reads, and nothing is left beside it', async () => {
  await rm(at('plans'), { recursive: true });
  const work = restoreOf(point, { paths: [at('plans')] });
  const result = await agent.work(archive, NAME, work, { access: await archive.as('read') });
  expect(result).toMatchObject({ state: 'completed', filesRestored: 2, filesSkipped: 0, bytesRestored: 10 });
  expect(await text('plans', 'old', 'south.doc')).toBe('south');
  expect((await stat(at('plans'))).mode & 0o777).toBe(0o711);
  await rm(share, { recursive: true });
  expect(await agent.work(archive, NAME, restoreOf(point))).toMatchObject({ state: 'completed', filesRestored: 4 });
  expect(await text('we[i]rd *$HOME ')).toBe('odd');
  expect(await readlink(at('link'))).toBe('plans/north.doc');
  expect((await readdir(home)).filter((name) => name.startsWith('.mainstay'))).toEqual([]);
  expect((await readdir(share)).filter((name) => name.startsWith('.mainstay'))).toEqual([]);
});

test('never: nothing that is there is replaced, be it a file, a file where a folder was, or a link', async () => {
  await writeFile(at('plans', 'north.doc'), 'my own');
  await rm(at('plans', 'old', 'south.doc'));
  const filled = await agent.work(archive, NAME, restoreOf(point));
  expect(filled).toMatchObject({ state: 'completed', filesRestored: 1, filesSkipped: 3 });
  expect(await text('plans', 'north.doc')).toBe('my own');
  expect(await text('plans', 'old', 'south.doc')).toBe('south');

  await rm(at('plans'), { recursive: true });
  await writeFile(at('plans'), 'a file now');
  expect(await agent.work(archive, NAME, restoreOf(point))).toMatchObject({ filesRestored: 0, filesSkipped: 4 });
  expect(await text('plans')).toBe('a file now');

  await rm(at('plans'));
  await mkdir(path.join(home, 'elsewhere'), { recursive: true });
  await symlink(path.join(home, 'elsewhere'), at('plans'));
  expect(await agent.work(archive, NAME, restoreOf(point, { paths: [at('plans', 'old')] }))).toMatchObject({
    filesRestored: 0,
    filesSkipped: 1,
  });
  expect(await readlink(at('plans'))).toBe(path.join(home, 'elsewhere'));
  expect(await readdir(path.join(home, 'elsewhere'))).toEqual([]);
});

test('if told so, what differs is replaced, and what lies beside it stays', async () => {
  await writeFile(at('plans', 'north.doc'), 'encrypted!');
  await writeFile(at('plans', 'new.doc'), 'new');
  await rm(at('plans', 'old'), { recursive: true });
  const result = await agent.work(archive, NAME, restoreOf(point, { overwrite: 'if-changed', paths: [at('plans')] }));
  expect(result).toMatchObject({ state: 'completed', faultCount: 0 });
  expect(await text('plans', 'north.doc')).toBe('north');
  expect(await text('plans', 'old', 'south.doc')).toBe('south');
  expect(await text('plans', 'new.doc')).toBe('new');
  await writeFile(at('plans', 'north.doc'), 'again');
  await agent.work(archive, NAME, restoreOf(point, { overwrite: 'always', paths: [at('plans', 'north.doc')] }));
  expect(await text('plans', 'north.doc')).toBe('north');
  const missing = restoreOf(point, { overwrite: 'always', paths: [at('gone.doc')] });
  expect(await agent.work(archive, NAME, missing)).toMatchObject({ state: 'partial', filesRestored: 0, faultCount: 1 });
});

test('a folder that agent.json allows is filled, and no other', async () => {
  const folder = path.join(home, 'restored', 'today');
  const into = (target: string, paths: string[] = []) =>
    agent.work(archive, NAME, restoreOf(point, { target: { kind: 'folder', path: target }, paths }));
  expect(await into(folder, [at('plans', 'north.doc'), at('gone.doc')])).toMatchObject({
    state: 'partial',
    filesRestored: 1,
    faults: [{ path: at('gone.doc') }],
  });
  expect(await readFile(path.join(folder, at('plans', 'north.doc')), 'utf8')).toBe('north');
  const refused = { state: 'failed', failure: { code: 'archive.folder-not-allowed' } };
  expect(await into('/etc/mainstay-restore-test')).toMatchObject(refused);
  await symlink('/etc', path.join(home, 'restored', 'trap'));
  expect(await into(path.join(home, 'restored', 'trap', 'mainstay-restore-test'))).toMatchObject(refused);
  expect(await into(path.join(home, 'restored-too'))).toMatchObject(refused);
  const outside = await agent.work(archive, NAME, restoreOf(point, { paths: ['/etc/passwd'] }));
  expect(outside).toMatchObject({ state: 'failed', failure: { code: 'archive.restore-outside' } });
  // Where the agent keeps its own, it may always restore.
  expect(await into(path.join(agent.state.restored, 'x'))).toMatchObject({ state: 'completed', filesRestored: 4 });
  await rename(path.join(agent.state.restored, 'x', at('plans', 'north.doc')), path.join(home, 'taken'));
});

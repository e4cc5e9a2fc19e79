import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentUnderTest, backupOf, secureVault, TestArchive, type TestAuthority } from '#test/archiving-agent';

let place: TestAuthority;
let home: string;
let share: string;
let agent: AgentUnderTest;
let archive: TestArchive;

const FILE = 'share';

beforeAll(async () => {
  place = await secureVault();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-share-'));
  share = path.join(home, 'share');
  await mkdir(path.join(share, 'plans'), { recursive: true });
  for (let number = 0; number < 20; number += 1)
    await writeFile(path.join(share, 'plans', `${number}.doc`), `${number}`);
  await writeFile(path.join(share, 'scratch.tmp'), 'left out');
  await symlink(share, path.join(home, 'link'));
  agent = await AgentUnderTest.start([
    { name: FILE, kind: 'files', paths: [share], excludes: ['*.tmp'] },
    {
      name: 'odd',
      kind: 'files',
      paths: [share, '/proc/self/clear_refs', path.join(home, 'gone'), path.join(home, 'link')],
    },
  ]);
  archive = await TestArchive.open(place, 'escrowed');
});
afterAll(async () => {
  await agent.remove();
  await place.vault.stop();
  await rm(home, { recursive: true, force: true });
});

test('files are archived with the tags of the run, and what was removed and renamed since is counted', async () => {
  const first = await agent.work(archive, FILE, backupOf('files', { tags: ['archive:a', 'run:1'] }));
  expect(first).toMatchObject({ state: 'completed', faultCount: 0, failure: null, renamedCount: null });
  expect(first.snapshots).toHaveLength(1);
  expect(first.snapshots[0]).toMatchObject({ files: 20, part: null, summary: { filesNew: 20, filesRemoved: null } });
  await rm(path.join(share, 'plans', '0.doc'));
  await rename(path.join(share, 'plans', '1.doc'), path.join(share, 'plans', '1.doc.locked'));
  await writeFile(path.join(share, 'plans', '2.doc'), 'changed');
  const previous = first.snapshots.map(({ id }) => id);
  const second = await agent.work(archive, FILE, backupOf('files', { previous, excludes: ['3.doc'] }));
  expect(second.snapshots[0]?.summary).toMatchObject({ filesNew: 1, filesChanged: 1, filesRemoved: 3 });
  expect(second).toMatchObject({ renamedCount: 1 });
  expect(second.removed.map((each) => path.basename(each)).sort()).toEqual(['0.doc', '1.doc', '3.doc']);
  const told = await archive.snapshots();
  expect(told.map(({ id }) => id)).toEqual([first.snapshots[0]?.id, second.snapshots[0]?.id]);
  expect(told[0]).toMatchObject({ hostname: FILE, tags: ['archive:a', 'run:1'], paths: [share] });
});

test('what cannot be read is listed, and the run is partial', async () => {
  const result = await agent.work(archive, 'odd', backupOf('files'));
  expect(result).toMatchObject({ state: 'partial', faultCount: 3, failure: null });
  expect(result.faults.map((each) => each.path).sort()).toEqual(
    [path.join(home, 'gone'), path.join(home, 'link'), '/proc/self/clear_refs'].sort(),
  );
  expect(result.snapshots).toHaveLength(1);
});

test('a vault that does not answer, and a wrong password, end as failed, and say which', async () => {
  const wrong = { ...archive.access, password: 'another' };
  expect(await agent.work(archive, FILE, backupOf('files'), { access: wrong })).toMatchObject({
    state: 'failed',
    failure: { code: 'archive.wrong-password' },
  });
  const stranger = { ...archive.access, secret: 'wrong' };
  const refused = await agent.work(archive, FILE, backupOf('files'), { access: stranger });
  expect(refused).toMatchObject({ state: 'failed', failure: { code: 'archive.vault-refused' } });
  const plain = { ...archive.access, url: archive.access.url.replace('https:', 'http:') };
  expect(await agent.work(archive, FILE, backupOf('files'), { access: plain })).toMatchObject({
    failure: { code: 'archive.vault-unencrypted' },
  });
  expect(await agent.work(archive, FILE, backupOf('command'))).toMatchObject({
    failure: { code: 'archive.other-source' },
  });
});

test('a customer-held password is made here, and a repository of another one is not touched', async () => {
  const held = await TestArchive.open(place, 'customer-held');
  const result = await agent.work(held, FILE, backupOf('files'));
  expect(result).toMatchObject({ state: 'completed' });
  const file = agent.state.workload(FILE, 'archive-password.json');
  const { password } = JSON.parse(await readFile(file, 'utf8')) as { password: string };
  expect(await held.restic(['snapshots', '--json'], 'restic', password)).toContain(result.snapshots[0]?.id);
  // The site cannot turn it into one that Mainstay reads.
  const turned = await agent.work(archive, FILE, backupOf('files'));
  expect(turned).toMatchObject({ state: 'failed', snapshots: [], failure: { code: 'archive.key-mode' } });
  await rm(file);
  expect(await agent.work(held, FILE, backupOf('files'))).toMatchObject({
    state: 'failed',
    failure: { code: 'archive.password-missing', message: expect.stringContaining('from your safe') as string },
  });
});

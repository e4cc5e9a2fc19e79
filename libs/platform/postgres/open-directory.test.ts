import { chmod, lstat, mkdir, mkdtemp, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ownedDirectory, serverIdentity, type ServerIdentity } from './identity.js';
import { openPlain, readPlain, readPlainIfPresent, removeTree, withDirectory } from './open-directory.js';
import { runTool } from './tool.js';

let folder: string;
let theirs: string;
let victim: string;
let identity: ServerIdentity;

beforeEach(async () => {
  identity = await serverIdentity();
  folder = await mkdtemp(path.join(tmpdir(), 'mainstay-links-'));
  await chmod(folder, 0o711);
  victim = path.join(folder, 'victim');
  await mkdir(victim, { mode: 0o700 });
  await writeFile(path.join(victim, 'secret'), 'secret', { mode: 0o600 });
  theirs = await ownedDirectory(path.join(folder, 'theirs'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const victimIsUntouched = async () => {
  expect(await readFile(path.join(victim, 'secret'), 'utf8')).toBe('secret');
  const { uid, mode } = await stat(path.join(victim, 'secret'));
  expect({ uid, mode: mode & 0o777 }).toEqual({ uid: process.getuid?.(), mode: 0o600 });
};
/** What the directory's user puts there. */
const plant = (target: string, name: string) =>
  runTool('/bin/ln', ['-s', target, path.join(theirs, name)], { identity });

test('a file is written past links that lie in the place of its old and its new name', async () => {
  await plant(path.join(victim, 'secret'), 'postgresql.conf');
  await plant(path.join(victim, 'secret'), 'postgresql.conf.new');
  await withDirectory(theirs, [], (directory) => directory.replace('postgresql.conf', 'port = 1\n', identity));
  await victimIsUntouched();
  const written = path.join(theirs, 'postgresql.conf');
  expect(await readFile(written, 'utf8')).toBe('port = 1\n');
  const { uid, mode } = await lstat(written);
  expect({ uid, mode: mode & 0o777 }).toEqual({ uid: identity.uid, mode: 0o600 });
});

test('no link is entered, given away or read, and no pipe holds a reader up', async () => {
  await plant(victim, 'base');
  await plant(path.join(victim, 'secret'), 'link');
  await expect(withDirectory(theirs, ['base'], async (directory) => directory.entries())).rejects.toThrow();
  await expect(ownedDirectory(path.join(theirs, 'base'))).rejects.toThrow();
  expect((await stat(victim)).uid).toBe(process.getuid?.());
  await expect(readPlain(path.join(theirs, 'link'))).rejects.toMatchObject({ code: 'ELOOP' });
  await runTool('/usr/bin/mkfifo', [path.join(theirs, 'pipe')], { identity });
  await expect(readPlain(path.join(theirs, 'pipe'))).rejects.toThrow('not a plain file');
  for (const name of ['link', 'pipe', 'absent', '.']) {
    expect(await readPlainIfPresent(path.join(theirs, name)), name).toBeUndefined();
  }
  // Whatever else keeps it from being read says nothing of whether it is there.
  await expect(readPlainIfPresent(path.join(theirs, 'x'.repeat(300)))).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
  const stranger = identity.uid + 1;
  await expect(openPlain(path.join(victim, 'secret'), stranger)).rejects.toThrow('not a plain file');
  await expect(withDirectory(theirs, [], async (each) => each.name('../victim'))).rejects.toThrow(RangeError);
});

test('removal takes links away and leaves alone what they lead to', async () => {
  await mkdir(path.join(theirs, 'data', 'base'), { recursive: true });
  await symlink(victim, path.join(theirs, 'data', 'base', 'link'));
  await writeFile(path.join(theirs, 'data', 'file'), 'x');
  expect(await readlink(path.join(theirs, 'data', 'base', 'link'))).toBe(victim);
  await removeTree(path.join(theirs, 'data'));
  await removeTree(path.join(theirs, 'data'));
  await removeTree(path.join(folder, 'nowhere', 'data'));
  await expect(lstat(path.join(theirs, 'data'))).rejects.toMatchObject({ code: 'ENOENT' });
  await victimIsUntouched();
});

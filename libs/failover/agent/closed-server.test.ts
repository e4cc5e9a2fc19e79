import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { chownTo, ownedDirectory, serverIdentity, type ServerIdentity } from '#libs/platform/postgres';
import { closeServer, isClosed } from './closed-server.js';

const FILES = ['standby.signal', 'mainstay-fenced-hba.conf', 'mainstay-before-fence.auto.conf', 'postgresql.auto.conf'];
let folder: string;
let data: string;
let victim: string;
let identity: ServerIdentity;

beforeEach(async () => {
  identity = await serverIdentity();
  folder = await mkdtemp(path.join(tmpdir(), 'mainstay-closed-'));
  data = await ownedDirectory(path.join(folder, 'data'));
  victim = path.join(folder, 'victim');
  await writeFile(victim, 'secret', { mode: 0o600 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const victimIsUntouched = async () => {
  expect(await readFile(victim, 'utf8')).toBe('secret');
  expect((await stat(victim)).uid).toBe(process.getuid?.());
};

test('links in the place of its files are replaced and not followed, under their old and their new names', async () => {
  for (const file of FILES.slice(0, 3)) await symlink(victim, path.join(data, file));
  for (const file of FILES) for (const end of ['.mainstay', '.new']) await symlink(victim, path.join(data, file + end));
  await closeServer(data, identity);
  await closeServer(data, identity);
  await victimIsUntouched();
  for (const file of FILES) {
    const status = await lstat(path.join(data, file));
    expect({ plain: status.isFile(), uid: status.uid, mode: status.mode & 0o777 }).toEqual({
      plain: true,
      uid: identity.uid,
      mode: 0o600,
    });
  }
  expect(await isClosed(data)).toBe(true);
});

test('what stands in the settings is never read out of another file', async () => {
  await symlink(victim, path.join(data, 'postgresql.auto.conf'));
  await expect(closeServer(data, identity)).rejects.toThrow();
  expect(await isClosed(data)).toBe(false);
  // It cannot write, all the same: that came first.
  expect(await readdir(data)).toContain('standby.signal');
  await victimIsUntouched();
});

test.skipIf(process.getuid?.() !== 0)('a directory of root’s is no server’s, whatever leads to it', async () => {
  const others = path.join(folder, 'others');
  await mkdir(others);
  const link = path.join(folder, 'main');
  await symlink(others, link);
  await expect(closeServer(link, identity)).rejects.toMatchObject({ code: 'fence.directory' });
  expect(await readdir(others)).toEqual([]);
  await chownTo(others, identity);
  await closeServer(link, identity);
  expect(await isClosed(others)).toBe(true);
});

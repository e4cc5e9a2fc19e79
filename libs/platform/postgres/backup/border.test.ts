import { lstat, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { chownTo, serverIdentity } from '../identity.js';
import { testFolder, TestServer } from '../testing/index.js';
import { BackupReceiver, BackupSource, type BackupEntry, type BackupTransport } from './index.js';
import { belongsToBackup } from './layout.js';
import { bound } from './test-line.js';

let primary: TestServer;
let source: BackupSource;
let folder: string;

beforeAll(async () => {
  primary = await TestServer.primary(await testFolder('border'));
});
afterAll(() => primary.remove());
beforeEach(async () => {
  source = new BackupSource({ dataDirectory: primary.server.directory, connect: () => primary.connect() });
  folder = await testFolder('site');
});
afterEach(async () => {
  await source.close();
  await rm(folder, { recursive: true, force: true });
});

const data = (...names: string[]) => path.join(folder, 'data', ...names);
const receive = (transport: BackupTransport) =>
  new BackupReceiver({
    transport,
    directory: data(),
    stateDirectory: path.join(folder, 'receipt'),
    label: 'metro',
    sync: false,
  }).receive();

/** A source that lies: it adds files to its manifest, and answers for them with its own PG_VERSION. */
function offering(...extra: BackupEntry[]): BackupTransport {
  const paths = new Set(extra.map((entry) => entry.path));
  return {
    ...bound(source),
    manifest: async (request) => {
      const page = await source.manifest(request);
      return { ...page, entries: request.from === 0 ? [...page.entries, ...extra] : page.entries };
    },
    read: (request, signal) => {
      const ranges = request.ranges.map((range) => (paths.has(range.path) ? { ...range, path: 'PG_VERSION' } : range));
      return source.read({ ...request, ranges }, signal);
    },
  };
}

test('a file that PostgreSQL does not name so never reaches the site, wherever it lies', async () => {
  const planted = ['base/evil.so', 'base/5/evil', 'global/1.so', 'pg_xact/evil', 'base/5/1/2', 'pg_tblspc/evil.so'];
  const extra = planted.map((name): BackupEntry => ({ path: name, kind: 'file', size: 3 }));
  await receive(offering(...extra, { path: 'base/nest', kind: 'directory', size: 0 }));
  const present = await readdir(data(), { recursive: true });
  expect(planted.filter((name) => present.includes(name))).toEqual([]);
  expect(present).not.toContain('base/nest');
  expect(present).toContain('base/5/pg_filenode.map');
});

test('all that a server’s own directory holds is part of its backup, or known to be left out', async () => {
  const root = primary.server.directory;
  const copied = ['base', 'global', 'pg_xact', 'pg_multixact', 'pg_logical', 'pg_commit_ts', 'pg_twophase'];
  const strangers: string[] = [];
  for (const top of copied) {
    for (const name of await readdir(path.join(root, top), { recursive: true })) {
      const kind = (await stat(path.join(root, top, name))).isDirectory() ? 'directory' : 'file';
      if (!belongsToBackup(`${top}/${name}`, kind)) strangers.push(path.basename(name));
    }
  }
  expect([...new Set(strangers)].sort()).toEqual(['pg_control', 'pg_internal.init']);
  const names = ['1259_fsm', '1259_vm', '16384_init', '16384.1', '16384_fsm.2', 'PG_VERSION'];
  for (const name of names) {
    expect(belongsToBackup(`base/5/${name}`, 'file')).toBe(true);
    expect(belongsToBackup(`pg_tblspc/16400/PG_15_202209061/5/${name}`, 'file')).toBe(true);
  }
  expect(belongsToBackup('pg_twophase/000002E1', 'file')).toBe(true);
  expect(belongsToBackup('pg_logical/mappings/map-4000-4eb-1_60DE1E08-5376b5-537c6b', 'file')).toBe(true);
  expect(belongsToBackup('pg_logical/snapshots/0-1A2B3C4.snap', 'file')).toBe(true);
});

test('links that wait in the directory are not followed when a copy is made into it', async () => {
  const identity = await serverIdentity();
  const victim = path.join(folder, 'victim');
  await mkdir(victim);
  for (const name of ['secret', 'pg_control', '1259'])
    await writeFile(path.join(victim, name), 'secret', { mode: 0o600 });
  const untouched = async () => {
    for (const name of ['secret', 'pg_control', '1259']) {
      expect(await readFile(path.join(victim, name), 'utf8')).toBe('secret');
      expect((await stat(path.join(victim, name))).uid).toBe(process.getuid?.());
    }
  };
  await mkdir(data('base', '5'), { recursive: true });
  await writeFile(data('PG_VERSION'), '15\n');
  await symlink(victim, data('global'));
  await symlink(victim, data('base', '1'));
  await symlink(path.join(victim, 'secret'), data('base', '5', '1259'));
  for (const name of ['mainstay-incomplete.new', 'backup_label.new']) {
    await symlink(path.join(victim, 'secret'), data(name));
  }
  for (const each of ['', 'base', 'base/5', 'PG_VERSION']) await chownTo(data(each), identity);
  await receive(source);
  await untouched();
  expect((await lstat(data('base', '5', '1259'))).isFile()).toBe(true);
  expect((await lstat(data('global', 'pg_control'))).uid).toBe(identity.uid);
});

test('a link that takes a directory’s place while a copy is made leads nowhere', async () => {
  const victim = path.join(folder, 'victim');
  await mkdir(victim);
  const swapping: BackupTransport = {
    ...bound(source),
    read: async (request, signal) => {
      await rm(data('base', '5'), { recursive: true, force: true });
      await symlink(victim, data('base', '5'));
      return source.read(request, signal);
    },
  };
  await expect(receive(swapping)).rejects.toThrow();
  expect(await readdir(victim)).toEqual([]);
});

test('a source reads nothing for its receiver that its server could not read', async () => {
  const { sessionId } = await source.begin({ label: 'probe', sessionId: null });
  const entries = (await source.manifest({ sessionId, from: 0 })).entries;
  const { path: relation } = entries.find((entry) => /^base\/5\/\d+$/.test(entry.path) && entry.size > 0)!;
  const secret = path.join(folder, 'secret');
  await writeFile(secret, 'secret', { mode: 0o600 });
  const file = path.join(primary.server.directory, relation);
  const bytes = await readFile(file);
  const request = { sessionId, ranges: [{ path: relation, offset: 0, length: 6 }], compress: false };
  const readAll = async () => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of await source.read(request)) chunks.push(chunk);
    return Buffer.concat(chunks).toString('latin1');
  };
  await rm(file);
  try {
    await symlink(secret, file);
    await expect(readAll()).rejects.toThrow();
    await expect(source.hashes({ sessionId, ranges: request.ranges })).rejects.toThrow();
  } finally {
    await rm(file, { force: true });
    await writeFile(file, bytes, { mode: 0o600 });
    await chownTo(file, await serverIdentity());
  }
  expect(await readAll()).toContain(bytes.subarray(0, 6).toString('latin1'));
});

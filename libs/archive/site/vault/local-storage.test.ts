import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { LocalStorage } from './local-storage.js';
import { storageContract } from './storage.contract.js';

const folder = () => mkdtemp(path.join(tmpdir(), 'mainstay-storage-'));

storageContract('local', async () => {
  const root = await folder();
  return {
    storage: new LocalStorage(root),
    reopen: () => new LocalStorage(root),
    clean: () => rm(root, { recursive: true, force: true }),
  };
});

test('stray files and folders are no objects', async () => {
  const root = await folder();
  const storage = new LocalStorage(root);
  const repository = randomUUID();
  await storage.createRepository(repository);
  await writeFile(path.join(root, repository, 'data', 'stray'), 'x');
  await writeFile(path.join(root, repository, 'data', '00', 'stray'), 'x');
  const found = [];
  for await (const object of storage.list(repository, 'data')) found.push(object);
  expect(found).toEqual([]);
  expect(await readdir(path.join(root, repository))).toEqual(['data', 'index', 'keys', 'locks', 'snapshots']);
  await rm(root, { recursive: true });
});

test('a mended object is exactly as old as it was, however its bytes reach the disk', async () => {
  const root = await folder();
  const storage = new LocalStorage(root);
  const repository = randomUUID();
  const name = { type: 'keys', id: 'a'.repeat(64) } as const;
  await storage.createRepository(repository);
  const file = path.join(root, repository, name.type, name.id);
  const longAgo = new Date('2020-02-02T02:02:02Z');
  for (const bytes of [10, 3_000_000]) {
    await writeFile(file, 'changed by the disk');
    await utimes(file, longAgo, longAgo);
    const incoming = await storage.incoming(repository, name);
    await incoming.write(Buffer.alloc(bytes));
    await incoming.replace();
    await incoming.discard();
    expect(await storage.stat(repository, name)).toEqual({ bytes, receivedAt: longAgo });
  }
  await rm(root, { recursive: true });
});

import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LocalStorage } from './local-storage.js';
import { RepositoryUsage } from './repository-usage.js';
import { VaultObjects } from './vault-objects.js';

let directory: string;
let storage: LocalStorage;
let objects: VaultObjects;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'mainstay-objects-'));
  storage = new LocalStorage(directory);
  objects = new VaultObjects(storage, new RepositoryUsage(storage), () => Promise.resolve(false));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const endless = (): Readable => new Readable({ read: () => undefined });

test('a second copy whose line breaks before its first byte is read fails the mend, and nothing else', async () => {
  const repository = randomUUID();
  await storage.createRepository(repository);
  const body = endless();
  body.destroy(new Error('the line broke'));
  const name = { type: 'data', id: 'a'.repeat(64) } as const;
  await expect(objects.mend(repository, name, body)).rejects.toThrow('the line broke');
  expect(await readdir(path.join(directory, '.incoming'))).toEqual([]);
});

test('a mend that cannot begin lets go of the line to the second copy', async () => {
  const body = endless();
  body.push(randomBytes(10));
  // Nothing is there of this repository: it cannot even be counted.
  await expect(objects.mend(randomUUID(), { type: 'data', id: 'a'.repeat(64) }, body)).rejects.toThrow('ENOENT');
  expect(body.destroyed).toBe(true);
});

test('what was wrong with an object is told also when what came of it cannot be cleared', async () => {
  class BadDisk extends LocalStorage {
    override async incoming(...object: Parameters<LocalStorage['incoming']>) {
      const incoming = await super.incoming(...object);
      const clear = incoming.discard.bind(incoming);
      incoming.discard = () => clear().then(() => Promise.reject(new Error('the disk is bad')));
      return incoming;
    }
  }
  const repository = randomUUID();
  await storage.createRepository(repository);
  const bad = new BadDisk(directory);
  const mending = new VaultObjects(bad, new RepositoryUsage(bad), () => Promise.resolve(false));
  const mend = mending.mend(repository, { type: 'data', id: 'a'.repeat(64) }, Readable.from([randomBytes(10)]));
  await expect(mend).rejects.toThrow('its bytes hash to');
});

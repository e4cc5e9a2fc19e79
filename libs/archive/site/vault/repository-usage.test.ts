import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LocalStorage } from './local-storage.js';
import type { ObjectName, ObjectType } from './object-names.js';
import { RemovalsUnderWay } from './removals-under-way.js';
import { RemovedObjects } from './removed-objects.js';
import { RepositoryUsage } from './repository-usage.js';
import { VaultObjects } from './vault-objects.js';

let directory: string;
let storage: LocalStorage;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'mainstay-usage-'));
  storage = new LocalStorage(directory);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const BYTES = 1_000;
async function store(repository: string, type: ObjectType, bytes = randomBytes(BYTES)) {
  const name = { type, id: createHash('sha256').update(bytes).digest('hex') };
  const incoming = await storage.incoming(repository, name);
  await incoming.write(bytes);
  await incoming.commit();
  await incoming.discard();
  return name;
}

/** What a site does first after its start, when nothing has been counted yet. */
interface Begun {
  readonly repository: string;
  readonly objects: VaultObjects;
  readonly removed: RemovedObjects;
}

test.each([
  {
    what: 'clears what was laid aside',
    left: 1,
    act: async ({ repository, removed }: Begun) => {
      await storage.layAside(repository, await store(repository, 'data'), new Date(0));
      expect(await removed.discardBefore(repository, new Date())).toBe(1);
    },
  },
  {
    what: 'clears what was damaged and has come again',
    left: 2,
    act: async ({ repository, removed }: Begun) => {
      const bytes = randomBytes(BYTES);
      const former = new RemovedObjects(storage, new RepositoryUsage(storage), new RemovalsUnderWay());
      await former.layDamagedAside(repository, await store(repository, 'data', bytes));
      await store(repository, 'data', bytes);
      await removed.discardReplaced(repository);
    },
  },
  {
    what: 'takes a dead lock away',
    left: 1,
    act: async ({ repository, objects }: Begun) =>
      objects.removeLock(repository, (await store(repository, 'locks')).id),
  },
  {
    what: 'takes a key away',
    left: 2,
    act: async ({ repository, objects }: Begun) => {
      await store(repository, 'keys');
      await objects.removeKey(repository, (await store(repository, 'keys')).id);
    },
  },
  {
    what: 'mends an object that was lost',
    left: 2,
    act: async ({ repository, objects }: Begun) => {
      const bytes = randomBytes(BYTES);
      const { id } = await store(repository, 'data', bytes);
      await storage.remove(repository, { type: 'data', id });
      await objects.mend(repository, { type: 'data', id }, Readable.from([bytes]));
    },
  },
])('a vault that first $what after its start knows how much is left', async ({ left, act }) => {
  const repository = randomUUID();
  await storage.createRepository(repository);
  await store(repository, 'data');
  const usage = new RepositoryUsage(storage);
  const objects = new VaultObjects(storage, usage, () => Promise.resolve(false));
  await act({ repository, objects, removed: new RemovedObjects(storage, usage, new RemovalsUnderWay()) });
  expect(await usage.bytes(repository)).toBe(left * BYTES);
});

async function aside(repository: string): Promise<ObjectName[]> {
  const found: ObjectName[] = [];
  for await (const { name } of storage.laidAside(repository)) found.push(name);
  return found;
}

test('a fault of many objects looks through what was laid aside no more often than one of few', async () => {
  let looks = 0;
  class CountingStorage extends LocalStorage {
    override laidAside(repository: string) {
      looks += 1;
      return super.laidAside(repository);
    }
  }
  const counting = new CountingStorage(directory);
  const repository = randomUUID();
  await storage.createRepository(repository);
  const bytes = Array.from({ length: 8 }, () => randomBytes(BYTES));
  const names = await Promise.all(bytes.map((each) => store(repository, 'data', each)));
  const usage = new RepositoryUsage(counting);
  const removed = new RemovedObjects(counting, usage, new RemovalsUnderWay());
  for (const name of names) await removed.layDamagedAside(repository, name);
  // To know how much it all takes.
  expect(looks).toBe(1);
  for (const each of bytes) await store(repository, 'data', each);
  // Bad again, before what was laid aside first has been cleared.
  await removed.layDamagedAside(repository, names[0]!);
  await removed.discardReplaced(repository);
  expect(await aside(repository)).toEqual([names[0], names[0]]);
  await store(repository, 'data', bytes[0]);
  await removed.discardReplaced(repository);
  expect(await aside(repository)).toEqual([]);
});

test.each([
  ['stores nothing', 0],
  ['is stored', 1],
])('an upload to a repository that goes meanwhile and %s leaves the next count as it is', async (_, stored) => {
  const repository = randomUUID();
  await storage.createRepository(repository);
  const usage = new RepositoryUsage(storage);
  const settle = await usage.reserve(repository, BYTES, null);
  usage.forget(repository);
  expect(await usage.bytes(repository)).toBe(0);
  if (stored > 0) await store(repository, 'data');
  settle(stored * BYTES);
  expect(await usage.reserved(repository)).toBe(0);
  expect(await usage.bytes(repository)).toBe(stored * BYTES);
});

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ObjectName } from './object-names.js';
import type { LaidAside, ListedObject, VaultStorage } from './storage.js';

const idOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const named = (bytes: Buffer): ObjectName => ({ type: 'data', id: idOf(bytes) });

/** What every storage must do. `make` answers an empty one, and a second one on the same place; `clean` removes it. */
export function storageContract(
  kind: string,
  make: () => Promise<{ storage: VaultStorage; reopen: () => VaultStorage; clean: () => Promise<void> }>,
): void {
  describe(`${kind} storage`, () => {
    let storage: VaultStorage;
    let reopen: () => VaultStorage;
    let clean: () => Promise<void>;
    const repository = randomUUID();

    const store = async (bytes: Buffer, name = named(bytes), into = repository) => {
      const incoming = await storage.incoming(into, name);
      try {
        const half = Math.floor(bytes.length / 2);
        await incoming.write(bytes.subarray(0, half));
        await incoming.write(bytes.subarray(half));
        return await incoming.commit();
      } finally {
        await incoming.discard();
      }
    };
    const listed = async (): Promise<ListedObject[]> => {
      const found: ListedObject[] = [];
      for await (const object of storage.list(repository, 'data')) found.push(object);
      return found;
    };

    const asideOf = async (of = repository): Promise<LaidAside[]> => {
      const found: LaidAside[] = [];
      for await (const aside of storage.laidAside(of)) found.push(aside);
      return found;
    };

    beforeAll(async () => {
      ({ storage, reopen, clean } = await make());
      await storage.createRepository(repository);
    });
    afterAll(() => clean());

    test('a repository is made once, found, and gone when removed', async () => {
      const other = randomUUID();
      expect(await storage.repositoryExists(other)).toBe(false);
      await storage.createRepository(other);
      await storage.createRepository(other);
      expect(await storage.repositoryExists(other)).toBe(true);
      expect([...(await storage.repositories())].sort()).toEqual([repository, other].sort());
      await store(Buffer.from('x'), { type: 'config' }, other);
      await storage.removeRepository(other);
      await storage.removeRepository(other);
      expect(await storage.repositoryExists(other)).toBe(false);
      expect(await storage.repositories()).toEqual([repository]);
      expect(await storage.stat(other, { type: 'config' })).toBeUndefined();
    });

    test('an object comes back byte for byte, whole and in parts, and is listed', async () => {
      const bytes = randomBytes(3_000_000);
      const name = named(bytes);
      const before = Date.now() - 2_000;
      expect(await storage.stat(repository, name)).toBeUndefined();
      expect(await store(bytes)).toBe('stored');
      expect(await buffer(await storage.read(repository, name))).toEqual(bytes);
      const part = await buffer(await storage.read(repository, name, { first: 1_000, last: 2_000_000 }));
      expect(part.equals(bytes.subarray(1_000, 2_000_001))).toBe(true);
      const found = await storage.stat(repository, name);
      expect(found?.bytes).toBe(bytes.length);
      expect(found?.receivedAt.getTime()).toBeGreaterThan(before);
      expect(await listed()).toEqual([{ id: name.id, ...found }]);
      expect(await storage.remove(repository, name)).toBe(true);
      expect(await storage.remove(repository, name)).toBe(false);
      expect(await listed()).toEqual([]);
      await expect(storage.read(repository, name)).rejects.toMatchObject({ code: 'object.not-found' });
    });

    test('what is not committed is never seen, and is cleared away', async () => {
      const bytes = randomBytes(50_000);
      const name = named(bytes);
      const incoming = await storage.incoming(repository, name);
      await incoming.write(bytes);
      expect(await storage.stat(repository, name)).toBeUndefined();
      await incoming.discard();
      await incoming.discard();
      expect(await storage.stat(repository, name)).toBeUndefined();
      // So long that every storage has begun to keep it somewhere.
      const lost = await storage.incoming(repository, name);
      for (let part = 0; part < 12; part += 1) await lost.write(randomBytes(2 ** 20));
      const again = reopen();
      expect(await again.discardLeftovers()).toBe(1);
      expect(await again.discardLeftovers()).toBe(0);
      await lost.discard();
      expect(await listed()).toEqual([]);
    });

    test('the end waits for what is on its way, and vouches for the bytes that arrived', async () => {
      for (const parts of [1, 3, 40]) {
        const bytes = randomBytes(parts * 256 * 1024 + 1_000);
        const name = named(bytes);
        const incoming = await storage.incoming(repository, name);
        for (let at = 0; at < bytes.length; at += 60_000) {
          const through = incoming.write(bytes.subarray(at, at + 60_000));
          if (at + 60_000 < bytes.length) await through;
        }
        expect(await incoming.digest()).toBe(idOf(bytes));
        expect(await incoming.commit()).toBe('stored');
        await incoming.discard();
        expect((await buffer(await storage.read(repository, name))).equals(bytes)).toBe(true);
        await storage.remove(repository, name);
      }
    });

    test('of two writers of one object both succeed, and the first one’s time stays', async () => {
      const bytes = randomBytes(200_000);
      const name = named(bytes);
      const [one, two] = await Promise.all([storage.incoming(repository, name), storage.incoming(repository, name)]);
      await Promise.all([one.write(bytes), two.write(bytes)]);
      expect(await one.commit()).toBe('stored');
      const first = await storage.stat(repository, name);
      expect(await two.commit()).toBe('exists');
      await Promise.all([one.discard(), two.discard()]);
      expect(await storage.stat(repository, name)).toEqual(first);
      expect(await buffer(await storage.read(repository, name))).toEqual(bytes);
      await storage.remove(repository, name);
    });

    test('what has changed on the disk is put right in its place, and is no older for it', async () => {
      const bytes = randomBytes(300_000);
      const name = named(bytes);
      await store(randomBytes(299_000), name);
      const before = await storage.stat(repository, name);
      for (const present of [true, false]) {
        if (!present) await storage.remove(repository, name);
        const right = await storage.incoming(repository, name);
        await right.write(bytes);
        await right.replace();
        await right.discard();
        expect(await buffer(await storage.read(repository, name))).toEqual(bytes);
        const after = (await storage.stat(repository, name))?.receivedAt.getTime();
        expect(after).toBeGreaterThanOrEqual(before?.receivedAt.getTime() ?? Infinity);
      }
      await storage.remove(repository, name);
    });

    test('what is laid aside is seen by nobody, comes back as it was, and goes for good when it is told to', async () => {
      const bytes = randomBytes(400_000);
      const name = named(bytes);
      const removedAt = new Date('2026-02-03T04:05:06.789Z');
      expect(await storage.layAside(repository, name, removedAt)).toBe(false);
      await store(bytes);
      const before = await storage.stat(repository, name);
      expect(await storage.layAside(repository, name, removedAt)).toBe(true);
      expect(await storage.layAside(repository, name, removedAt)).toBe(false);
      expect(await storage.stat(repository, name)).toBeUndefined();
      expect(await listed()).toEqual([]);
      expect(await storage.repositories()).toEqual([repository]);
      expect(await reopen().discardLeftovers()).toBe(0);
      const [aside, ...more] = await asideOf();
      expect([aside, more]).toEqual([{ name, removedAt, bytes: bytes.length }, []]);
      if (!aside) return;
      expect(await storage.bringBack(repository, aside)).toBe('returned');
      expect(await storage.bringBack(repository, aside)).toBe('absent');
      expect(await asideOf()).toEqual([]);
      const after = await storage.stat(repository, name);
      // No younger than it was, and where the storage sets the time, newer: retained for longer.
      expect(after?.receivedAt.getTime()).toBeGreaterThanOrEqual(before?.receivedAt.getTime() ?? Infinity);
      expect(await buffer(await storage.read(repository, name))).toEqual(bytes);
      await storage.layAside(repository, name, removedAt);
      // Sent again in the meantime: what is there stays, and so does what was laid aside.
      await store(bytes);
      expect(await storage.bringBack(repository, aside)).toBe('present');
      expect(await asideOf()).toEqual([aside]);
      await storage.discardAside(repository, aside);
      await storage.discardAside(repository, aside);
      expect(await asideOf()).toEqual([]);
      expect(await buffer(await storage.read(repository, name))).toEqual(bytes);
      await storage.remove(repository, name);
    });

    test('a repository goes with what was laid aside of it', async () => {
      const other = randomUUID();
      await storage.createRepository(other);
      await store(Buffer.from('a config'), { type: 'config' }, other);
      await storage.layAside(other, { type: 'config' }, new Date());
      expect(await asideOf(other)).toHaveLength(1);
      await storage.removeRepository(other);
      expect(await asideOf(other)).toEqual([]);
    });

    test('a config is never replaced', async () => {
      expect(await store(Buffer.from('the first'), { type: 'config' })).toBe('stored');
      expect(await store(Buffer.from('another'), { type: 'config' })).toBe('exists');
      expect((await buffer(await storage.read(repository, { type: 'config' }))).toString()).toBe('the first');
    });

    test('an empty object is an object', async () => {
      const name = named(Buffer.alloc(0));
      expect(await store(Buffer.alloc(0))).toBe('stored');
      expect(await buffer(await storage.read(repository, name))).toHaveLength(0);
      await storage.remove(repository, name);
    });
  });
}

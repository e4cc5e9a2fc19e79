import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { DomainError } from '#libs/platform/errors';
import { clearedAfter } from './incoming.js';
import { objectLabel, type ObjectName, type ObjectType } from './object-names.js';
import type { RepositoryUsage } from './repository-usage.js';
import type { ListedObject, StoredObject, VaultStorage } from './storage.js';
import { OBJECT_BYTES_MAX } from './vault-rules.js';

/** What was to replace a damaged object is not that object. */
export class WrongObjectError extends Error {
  constructor(name: ObjectName, why: string) {
    super(`what came for ${objectLabel(name)} is not it: ${why}`);
    this.name = 'WrongObjectError';
  }
}

/** Without its config nothing opens a repository, and nobody may take it for one that was never made. */
export class ConfigLostError extends DomainError {
  constructor(repository: string, but: string) {
    super(
      'unavailable',
      'vault.config-lost',
      'The repository has lost its configuration, and was in use before. Nothing is written to it until it has been brought back: from what was removed, the second copy or a backup of the vault.',
      { detail: `${repository} has no config, but ${but}` },
    );
  }
}

/** The site's own care for what its vault keeps, past the protocol: nothing here is reachable by a client. */
export class VaultObjects {
  constructor(
    private readonly storage: VaultStorage,
    private readonly usage: RepositoryUsage,
    /** Whether, by all that is written down, it has never had a recovery point, and is under no hold. */
    private readonly isUnused: (repository: string) => Promise<boolean>,
  ) {}

  list(repository: string, type: ObjectType): AsyncIterable<ListedObject> {
    return this.storage.list(repository, type);
  }

  stat(repository: string, name: ObjectName): Promise<StoredObject | undefined> {
    return this.storage.stat(repository, name);
  }

  /** Bytes that the repository takes. */
  bytes(repository: string): Promise<number> {
    return this.usage.bytes(repository);
  }

  /** Reads it whole. `missing` is a fault as `damaged` is: it was listed, or named, a moment ago. */
  async look(repository: string, name: ObjectName): Promise<'sound' | 'damaged' | 'missing'> {
    if (!(await this.storage.stat(repository, name))) return 'missing';
    if (name.type === 'config') return 'sound';
    const hash = createHash('sha256');
    for await (const piece of this.storage.pieces(repository, name)) hash.update(piece);
    return hash.digest('hex') === name.id ? 'sound' : 'damaged';
  }

  /**
   * Puts an object's right bytes in the place of wrong ones, whole or not at all. The bytes prove themselves: they hash to
   * its name, or nothing changes.
   *
   * @throws WrongObjectError, StorageFullError, and what reading `body` throws
   */
  async mend(repository: string, name: Exclude<ObjectName, { type: 'config' }>, body: Readable): Promise<void> {
    // One that breaks off before it is read fails when it is: without a listener it would end this process.
    body.on('error', () => undefined);
    try {
      await this.usage.counted(repository);
      await this.replace(repository, name, body);
    } finally {
      body.destroy();
    }
  }

  /** The object's bytes as they are: whoever takes them hashes them. @throws ObjectNotFoundError */
  read(repository: string, name: ObjectName): Promise<Readable> {
    return this.storage.read(repository, name);
  }

  /** For a lock whose holder is dead. Safe to repeat. */
  async removeLock(repository: string, id: string): Promise<void> {
    const name = { type: 'locks', id } as const;
    const object = await this.storage.stat(repository, name);
    if (!object) return;
    await this.usage.counted(repository);
    if (await this.storage.remove(repository, name)) await this.usage.removed(repository, object.bytes);
  }

  /**
   * Takes away a key that a rotation has replaced, whatever its age: it holds no data, and a password that is known to
   * others must not open the repository for as long as its points are kept. One key at least stays. Safe to repeat.
   *
   * @param asideAt lays it aside as removed at that time, like what a client removes
   */
  async removeKey(repository: string, id: string, asideAt?: Date): Promise<void> {
    const name = { type: 'keys', id } as const;
    const object = await this.storage.stat(repository, name);
    if (!object) return;
    await this.usage.counted(repository);
    if (!(await this.hasKeyBeside(repository, id)))
      throw new Error(`${objectLabel(name)} is the last key of ${repository}`);
    if (asideAt) return void (await this.storage.layAside(repository, name, asideAt));
    if (await this.storage.remove(repository, name)) await this.usage.removed(repository, object.bytes);
  }

  /** The key that was there first: whoever made the repository made it. Null where there is none. */
  async firstKey(repository: string): Promise<string | null> {
    if (!(await this.storage.repositoryExists(repository))) return null;
    let first: ListedObject | undefined;
    for await (const key of this.storage.list(repository, 'keys')) {
      if (!first || key.receivedAt < first.receivedAt) first = key;
    }
    return first?.id ?? null;
  }

  /**
   * What a client left that was killed while it made the repository: without a config nothing in it means anything. Whoever
   * may remove can take the config and all points away, so what was in use at any time, or was laid aside, stays.
   *
   * @throws ConfigLostError
   */
  async discardUnmade(repository: string): Promise<void> {
    if (!(await this.storage.repositoryExists(repository))) return;
    if (await this.storage.stat(repository, { type: 'config' })) return;
    for await (const point of this.storage.list(repository, 'snapshots')) {
      throw new ConfigLostError(repository, `the recovery point ${point.id}`);
    }
    for await (const { name } of this.storage.laidAside(repository)) {
      throw new ConfigLostError(repository, `${objectLabel(name)} was removed from it`);
    }
    if (!(await this.isUnused(repository)))
      throw new ConfigLostError(repository, 'has had recovery points, or is held');
    await this.removeAll(repository);
  }

  /** The whole repository, for good. Safe to repeat. */
  async removeAll(repository: string): Promise<void> {
    await this.storage.removeRepository(repository);
    this.usage.forget(repository);
  }

  /** Looks no further than the first: whoever may add keys can add thousands, and each of them is taken away one day. */
  private async hasKeyBeside(repository: string, id: string): Promise<boolean> {
    for await (const key of this.storage.list(repository, 'keys')) if (key.id !== id) return true;
    return false;
  }

  private async replace(repository: string, name: ObjectName, body: Readable): Promise<void> {
    const before = await this.storage.stat(repository, name);
    const incoming = await this.storage.incoming(repository, name);
    await clearedAfter(incoming, async () => {
      let bytes = 0;
      for await (const chunk of body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        // Whoever keeps the second copy says what comes, and must not fill this disk. How long it was here is no measure: what
        // is damaged may have been cut.
        if (bytes > OBJECT_BYTES_MAX)
          throw new WrongObjectError(name, `no object has more than ${OBJECT_BYTES_MAX} bytes`);
        await incoming.write(chunk);
      }
      const found = await incoming.digest();
      if (found !== name.id) throw new WrongObjectError(name, `its bytes hash to ${found}`);
      await incoming.replace();
      await this.usage.removed(repository, (before?.bytes ?? 0) - bytes);
    });
  }
}

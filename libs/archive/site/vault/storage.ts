import type { Readable } from 'node:stream';
import type { ObjectName, ObjectType } from './object-names.js';

/** One stored object. */
export interface StoredObject {
  readonly bytes: number;
  /** When the vault had received it, by its own clock: the only time that retention believes. */
  readonly receivedAt: Date;
}

export interface ListedObject extends StoredObject {
  readonly id: string;
}

/** A removed object that can still be brought back. */
export interface LaidAside {
  readonly name: ObjectName;
  /** By the vault's own clock. One object may be removed, stored and removed again. */
  readonly removedAt: Date;
  readonly bytes: number;
}

/** First and last byte, both included. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/**
 * One object on its way in. Nothing of it can be seen before {@link commit}; whoever begins one ends it, by commit or by
 * discard. A process that dies in between leaves only what {@link VaultStorage.discardLeftovers} clears.
 */
export interface IncomingObject {
  /** Whether the buffer of a write is the caller's again once it is through; if not, the storage keeps it. */
  readonly copies: boolean;
  /**
   * Nobody changes the buffer before it is through. It joins small ones: a failure may be about an earlier one, and shows at
   * the latest in {@link digest}. What it answers, if anything, is to be waited for before the next call.
   *
   * @throws StorageFullError
   */
  write(chunk: Buffer): Promise<void> | undefined;
  /**
   * What all that was written hashes to (SHA-256, hex), read from the memory that the storage keeps or has written: bytes
   * that were mixed up on their way here have another hash than those that came. Once, and nothing is written afterwards.
   *
   * @throws StorageFullError
   */
  digest(): Promise<string>;
  /**
   * Makes the object durable and then visible, whole, under its name, unless one is there: an existing object is never
   * replaced, and keeps its time of receipt. Once this has resolved, a power failure loses nothing.
   *
   * @throws StorageFullError
   */
  commit(): Promise<'stored' | 'exists'>;
  /**
   * The same, in the place of what is there: for mending an object whose bytes have changed, never for a client. The time
   * of receipt stays, or, where the storage sets it itself, is now: such an object is retained for longer, never shorter.
   *
   * @throws StorageFullError
   */
  replace(): Promise<void>;
  /** Safe to repeat, and after a commit. */
  discard(): Promise<void>;
}

/**
 * Where a vault keeps its repositories. What an object's name promises (its hash), who may do what, quotas and retention
 * are the vault's business; a storage is about bytes, durability and atomicity. `storage.contract.ts` runs against each.
 */
export interface VaultStorage {
  /** Safe to repeat. */
  createRepository(repository: string): Promise<void>;
  repositoryExists(repository: string): Promise<boolean>;
  /** Everything of it, what was laid aside too, for good. Safe to repeat. */
  removeRepository(repository: string): Promise<void>;
  repositories(): Promise<readonly string[]>;
  /** In no order. What is not an object by its name is left out. */
  list(repository: string, type: ObjectType): AsyncIterable<ListedObject>;
  stat(repository: string, name: ObjectName): Promise<StoredObject | undefined>;
  /**
   * The object's bytes, or some of them; the range must lie within the object.
   *
   * @throws ObjectNotFoundError
   */
  read(repository: string, name: ObjectName, range?: ByteRange): Promise<Readable>;
  /**
   * The same for a reader that is through with each piece before it asks for the next: the piece's memory is then used
   * again. Whoever needs it for longer copies it.
   *
   * @throws ObjectNotFoundError when the first is asked for
   */
  pieces(repository: string, name: ObjectName, range?: ByteRange): AsyncIterable<Buffer>;
  incoming(repository: string, name: ObjectName): Promise<IncomingObject>;
  /** Durable once it has resolved. False when there was none. */
  remove(repository: string, name: ObjectName): Promise<boolean>;
  /**
   * Takes an object out of everybody's sight, whole, and keeps its bytes until {@link discardAside}. Durable once it has
   * resolved; a process that dies in between leaves it in at least one of the two places.
   *
   * @param removedAt to the millisecond
   * @returns false when there was none.
   */
  layAside(repository: string, name: ObjectName, removedAt: Date): Promise<boolean>;
  /** In no order. */
  laidAside(repository: string): AsyncIterable<LaidAside>;
  /**
   * Gives an object back its place, with its time of receipt, or a later one where the storage sets it itself. What is there
   * is never replaced: `present`, and what was laid aside stays. `absent` when nothing of the kind is laid aside. Safe to
   * repeat.
   */
  bringBack(repository: string, aside: LaidAside): Promise<'returned' | 'present' | 'absent'>;
  /** For good. Safe to repeat. */
  discardAside(repository: string, aside: LaidAside): Promise<void>;
  /**
   * Clears what uploads of dead processes left behind. To be called before the first upload of this process.
   *
   * @returns how many.
   */
  discardLeftovers(): Promise<number>;
}

import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { release } from './buffers.js';
import { clearedAfter } from './incoming.js';
import type { VaultCaller, VaultLedger } from './ledger.js';
import { objectLabel, type ObjectName } from './object-names.js';
import type { Pace } from './pace.js';
import { turnOf } from './rates.js';
import type { RepositoryUsage } from './repository-usage.js';
import type { IncomingObject, StoredObject, VaultStorage } from './storage.js';
import { NotAllowedError, VaultAnswerError } from './vault.errors.js';
import { OBJECT_BYTES_MAX } from './vault-rules.js';

type Taker = Pick<IncomingObject, 'copies' | 'write'>;

export interface Upload {
  readonly caller: VaultCaller;
  readonly name: ObjectName;
  readonly body: IncomingMessage;
  /** Undefined: as fast as it comes. */
  readonly pace?: Pace | undefined;
}

/** A request's promise of how long its body is; null when it makes none. */
function declaredLength(body: IncomingMessage): number | null {
  const header = body.headers['content-length'];
  if (header === undefined) return null;
  const bytes = Number(header);
  if (bytes > OBJECT_BYTES_MAX) {
    throw new VaultAnswerError(400, 'object.too-large', `An object may have ${OBJECT_BYTES_MAX} bytes at the most.`);
  }
  return bytes;
}

/**
 * Takes objects in: hashed as they are written, durable before they are answered, visible whole or not at all.
 *
 * Sending the same object twice is a success both times, since a client whose answer was lost does just that; sending
 * other bytes for an id that exists is refused, whatever they are.
 */
export class Uploads {
  constructor(
    private readonly storage: VaultStorage,
    private readonly ledger: VaultLedger,
    private readonly usage: RepositoryUsage,
    private readonly stored: (repository: string, name: ObjectName, object: StoredObject) => void,
  ) {}

  /**
   * Resolves once the object is durable.
   *
   * @throws VaultAnswerError, StorageFullError, QuotaReachedError, and the connection's own error when it breaks off
   */
  async take(upload: Upload): Promise<void> {
    const { caller, name, body } = upload;
    const declared = declaredLength(body);
    const terms = await this.ledger.terms(caller.repository);
    if (name.type === 'locks' && terms.maintainedBy !== null && terms.maintainedBy !== caller.credentialId) {
      const later = { 'retry-after': '60' };
      throw new VaultAnswerError(
        503,
        'vault.maintenance',
        'The repository is being maintained. Try again later.',
        later,
      );
    }
    if (declared === null && terms.quotaBytes !== null) {
      throw new VaultAnswerError(411, 'length.required', 'Say how long the object is: the repository has a quota.');
    }
    const present = await this.storage.stat(caller.repository, name);
    if (present) return this.compare(upload);
    const settle = await this.usage.reserve(caller.repository, declared ?? 0, terms.quotaBytes);
    let stored = 0;
    try {
      stored = await this.store(upload, declared);
    } finally {
      settle(stored);
    }
    // What is there counts, whatever becomes of what is written about it.
    const object = stored > 0 ? await this.storage.stat(caller.repository, name) : undefined;
    if (object) this.stored(caller.repository, name, object);
    if (name.type === 'snapshots') await this.received(caller, name);
  }

  /** @returns how many bytes it added to the repository. */
  private async store({ caller, name, body, pace }: Upload, declared: number | null): Promise<number> {
    const incoming = await this.storage.incoming(caller.repository, name);
    return clearedAfter(incoming, async () => {
      const bytes = await receive(body, pace, incoming);
      if (declared !== null && bytes !== declared) throw truncated(bytes, declared);
      if (name.type !== 'config' && (await incoming.digest()) !== name.id) throw wrongHash(name);
      if (name.type === 'locks') await this.ledger.lockTaken(caller, name.id);
      const outcome = await incoming.commit();
      if (outcome === 'exists' && name.type === 'config') throw configExists();
      return outcome === 'stored' ? bytes : 0;
    });
  }

  /** The object is there: only the same bytes are a success. They are read and thrown away. */
  private async compare({ caller, name, body, pace }: Upload): Promise<void> {
    if (name.type === 'config') throw configExists();
    const hash = createHash('sha256');
    await receive(body, pace, { copies: true, write: (chunk) => void hash.update(chunk) });
    if (hash.digest('hex') !== name.id) {
      await this.ledger.refused(caller, 'replacement', objectLabel(name));
      throw new NotAllowedError('An object of this name exists, and other bytes were sent for it.');
    }
    // Its first sender may have died before it was written down.
    if (name.type === 'snapshots') await this.received(caller, name);
  }

  private async received(caller: VaultCaller, name: Extract<ObjectName, { id: string }>): Promise<void> {
    const stored = await this.storage.stat(caller.repository, name);
    if (stored) await this.ledger.snapshotReceived(caller, name.id, stored.receivedAt);
  }
}

/**
 * Hands a body on, chunk by chunk. Answers its length in bytes once the last has been taken. By events, since iterating
 * over a request joins its chunks by copying them.
 */
function receive(body: IncomingMessage, pace: Pace | undefined, into: Taker): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let bytes = 0;
  let taken: Promise<unknown> = Promise.resolve();
  const take = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes > OBJECT_BYTES_MAX) return fail(tooLarge());
    const written = into.write(chunk);
    const through = (): void => {
      if (into.copies) release(chunk);
    };
    const turn = turnOf(pace, chunk.length, body.socket);
    if (!written && !turn) return through();
    body.pause();
    taken = Promise.all([written, turn]).then(() => {
      through();
      body.resume();
    });
    taken.catch(fail);
  };
  const brokeOff = (): void => fail(new Error('the upload broke off'));
  const fail = (error: unknown): void => {
    // What still comes is thrown away, so that the client gets to read why.
    body.off('data', take);
    body.resume();
    reject(error);
  };
  body.on('data', take);
  body.once('end', () => {
    body.off('close', brokeOff);
    // A paused body ends all the same when its last chunk had been waiting in it: `end` is planned before the chunk is handed
    // out (Node's Readable#read). What is on its way to the storage then is not there yet.
    taken.then(() => resolve(bytes), fail);
  });
  body.once('error', fail);
  body.once('close', brokeOff);
  // Of one that broke off before, no more events come.
  if (body.destroyed) brokeOff();
  return promise;
}

const tooLarge = (): VaultAnswerError => new VaultAnswerError(400, 'object.too-large', 'The object is too large.');

const configExists = (): NotAllowedError =>
  new NotAllowedError('The repository has a config, and it is never replaced.');

const wrongHash = (name: ObjectName): VaultAnswerError =>
  new VaultAnswerError(400, 'object.hash', `The bytes do not hash to ${objectLabel(name)}. Nothing was stored.`);

const truncated = (bytes: number, declared: number): VaultAnswerError =>
  new VaultAnswerError(400, 'object.truncated', `${bytes} of ${declared} bytes arrived. Nothing was stored.`);

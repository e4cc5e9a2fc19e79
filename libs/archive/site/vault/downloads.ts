import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { objectLabel, type ObjectName } from './object-names.js';
import type { Pace } from './pace.js';
import { turnOf } from './rates.js';
import type { ByteRange, StoredObject, VaultStorage } from './storage.js';
import { ObjectDamagedError, ObjectNotFoundError, VaultAnswerError } from './vault.errors.js';

/** For so long, an object that was read whole and found right is not read whole again for each of its parts. */
const TRUST_MS = 60 * 60 * 1_000;
/** A restore goes through packs one after another: few are in use at a time. */
const TRUSTED_MAX = 20_000;

/** Where an object lies and what it was when it was read: any change of the file is another object. */
const mark = (repository: string, name: ObjectName, { bytes, receivedAt }: StoredObject): string =>
  `${repository}/${objectLabel(name)} ${bytes} ${receivedAt.getTime()}`;

/** `bytes=a-b`, the form that restic sends; undefined for no range and for forms that may be ignored (RFC 9110, 14.2). */
export function parseRange(header: string | undefined, bytes: number): ByteRange | undefined {
  const match = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(header ?? '');
  if (!match) return undefined;
  const first = Number(match[1]);
  const last = match[2] === '' ? bytes - 1 : Math.min(Number(match[2]), bytes - 1);
  if (first >= bytes || last < first) {
    const whole = { 'content-range': `bytes */${bytes}` };
    throw new VaultAnswerError(416, 'range.outside', `The object has ${bytes} bytes.`, whole);
  }
  return { first, last };
}

/** Gives objects out, and never bytes that do not hash to their name. */
export class Downloads {
  private readonly trusted = new Map<string, number>();

  constructor(
    private readonly storage: VaultStorage,
    private readonly damaged: (repository: string, name: ObjectName) => void,
  ) {}

  /** @throws ObjectNotFoundError */
  async describe(repository: string, name: ObjectName, response: ServerResponse): Promise<void> {
    const { bytes } = await this.find(repository, name);
    response.writeHead(200, { 'content-length': bytes, 'accept-ranges': 'bytes', ...OCTETS }).end();
  }

  /** @throws ObjectNotFoundError, ObjectDamagedError, VaultAnswerError for a range outside the object */
  async send(
    repository: string,
    name: ObjectName,
    request: IncomingMessage,
    response: ServerResponse,
    pace?: Pace,
  ): Promise<void> {
    const object = await this.find(repository, name);
    const range = parseRange(request.headers.range, object.bytes);
    await this.verify(repository, name, object);
    const first = range?.first ?? 0;
    const last = range?.last ?? object.bytes - 1;
    const headers = { 'content-length': last - first + 1, 'accept-ranges': 'bytes', ...OCTETS };
    const begin = (): void => {
      if (range) response.writeHead(206, { ...headers, 'content-range': `bytes ${first}-${last}/${object.bytes}` });
      else response.writeHead(200, headers);
    };
    await sendAll(this.storage.pieces(repository, name, range), response, begin, pace);
  }

  /** The object has just been hashed on its way in, which is worth as much as having been read. */
  trust(repository: string, name: ObjectName, object: StoredObject): void {
    if (this.trusted.size >= TRUSTED_MAX) this.trusted.clear();
    this.trusted.set(mark(repository, name, object), Date.now() + TRUST_MS);
  }

  private async find(repository: string, name: ObjectName): Promise<StoredObject> {
    const object = await this.storage.stat(repository, name);
    if (!object) throw new ObjectNotFoundError(objectLabel(name));
    return object;
  }

  /**
   * A part of an object proves nothing by itself, so the whole is read before the first part leaves. A config's name says
   * nothing of its bytes; restic's own authentication covers them.
   */
  private async verify(repository: string, name: ObjectName, object: StoredObject): Promise<void> {
    if (name.type === 'config') return;
    const key = mark(repository, name, object);
    const until = this.trusted.get(key);
    if (until !== undefined && until > Date.now()) return;
    const found = await hashOf(this.storage.pieces(repository, name));
    if (found !== name.id) {
      this.trusted.delete(key);
      this.damaged(repository, name);
      throw new ObjectDamagedError(objectLabel(name));
    }
    this.trust(repository, name, object);
  }
}

const OCTETS = { 'content-type': 'application/octet-stream' };

async function hashOf(pieces: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

/** Nothing is answered before the first piece is there: until then it may still become a refusal. */
async function sendAll(
  pieces: AsyncIterable<Buffer>,
  response: ServerResponse,
  begin: () => void,
  pace: Pace | undefined,
): Promise<void> {
  for await (const piece of pieces) {
    if (!response.headersSent) begin();
    if (response.socket) await turnOf(pace, piece.length, response.socket);
    if (!(await sent(piece, response))) return;
  }
  if (!response.headersSent) begin();
  response.end();
}

/** Resolves once the piece is the kernel's, or encrypted; with false when the client has gone. */
function sent(piece: Buffer, response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const gone = (): void => resolve(false);
    if (response.destroyed) return gone();
    response.once('close', gone);
    response.write(piece, (error) => {
      response.off('close', gone);
      resolve(!error);
    });
  });
}

import path from 'node:path';
import type { PostgresClient } from '../client.js';
import { openPlain } from '../open-directory.js';
import { hashBlocks, readRange, type Opening } from './blocks.js';
import { BackupRefusedError, BackupSessionLostError } from './errors.js';
import { encodeFrame, END_OF_RANGE } from './frames.js';
import { OpenBackup } from './session.js';
import {
  REQUEST_BYTES_MAX,
  type BackupBeginRequest,
  type BackupEndRequest,
  type BackupFinish,
  type BackupFinishRequest,
  type BackupHashes,
  type BackupHashesRequest,
  type BackupManifestPage,
  type BackupManifestRequest,
  type BackupRange,
  type BackupReadRequest,
  type BackupSession,
  type BackupTransport,
} from './wire.js';

export interface BackupSourceOptions {
  /** Must be readable for this process. */
  readonly dataDirectory: string;
  /** Opens a local connection that may call pg_backup_start: a superuser's, or one with EXECUTE on it. */
  readonly connect: () => Promise<PostgresClient>;
  /** A session that nobody has used for so long is ended; 6 hours when left out. Longer than lines are usually cut. */
  readonly idleExpiryMs?: number;
  /** Whether the checkpoint at the beginning is taken at once (the default) or spread over minutes. */
  readonly fastCheckpoint?: boolean;
}

const IDLE_EXPIRY_MS = 6 * 3_600_000;
const PAGE_ENTRIES = 2_000;
const CHUNK_BYTES = 512 * 1024;

/**
 * Serves base backups out of the data directory of a server on this machine, a primary or a standby, in pieces that may
 * be asked for in any order and again. All it writes is the server's backup mode, which ends with {@link close}.
 */
export class BackupSource implements BackupTransport {
  private readonly sessions = new Map<string, OpenBackup>();
  private beginning: Promise<unknown> = Promise.resolve();
  private readonly sweeper: NodeJS.Timeout;

  constructor(private readonly options: BackupSourceOptions) {
    this.sweeper = setInterval(() => void this.endIdle(), Math.min(60_000, this.idleExpiryMs));
    this.sweeper.unref();
  }

  begin(request: BackupBeginRequest): Promise<BackupSession> {
    // One after the other: two begins of one label, the first of which lost its line, must not both stay.
    const next = this.beginning.then(() => this.beginNow(request));
    // Who asked is told of a failure; the next one begins all the same.
    this.beginning = next.catch(() => undefined);
    return next;
  }

  manifest(request: BackupManifestRequest): Promise<BackupManifestPage> {
    return this.using(request.sessionId, async ({ listing }) => {
      const entries = listing.entries.slice(request.from, request.from + PAGE_ENTRIES);
      const next = request.from + entries.length;
      return {
        entries,
        next: next < listing.entries.length ? next : null,
        totalEntries: listing.entries.length,
        totalBytes: listing.totalBytes,
      };
    });
  }

  hashes(request: BackupHashesRequest): Promise<BackupHashes> {
    return this.using(request.sessionId, async (session) => {
      const files = this.filesOf(session, request.ranges);
      const hashes: string[][] = [];
      for (const { opening, offset, length } of files) hashes.push(await hashBlocks(opening, offset, length));
      return { hashes };
    });
  }

  read(request: BackupReadRequest, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    return this.using(request.sessionId, async (session) => {
      const files = this.filesOf(session, request.ranges);
      return frames(files, request.compress, session, signal);
    });
  }

  finish(request: BackupFinishRequest): Promise<BackupFinish> {
    return this.using(request.sessionId, (session) => session.finish());
  }

  async end(request: BackupEndRequest): Promise<void> {
    const session = this.sessions.get(request.sessionId);
    this.sessions.delete(request.sessionId);
    await session?.close();
  }

  /** How many backups the server has begun for us. */
  get openSessions(): number {
    return this.sessions.size;
  }

  /** Ends all sessions; receivers begin anew with the next source. */
  async close(): Promise<void> {
    clearInterval(this.sweeper);
    await this.beginning;
    await Promise.all([...this.sessions.keys()].map((sessionId) => this.end({ sessionId })));
  }

  private get idleExpiryMs(): number {
    return this.options.idleExpiryMs ?? IDLE_EXPIRY_MS;
  }

  private async beginNow(request: BackupBeginRequest): Promise<BackupSession> {
    const present = request.sessionId === null ? undefined : this.sessions.get(request.sessionId);
    if (present?.isAlive() && present.label === request.label) {
      present.use();
      return present.facts;
    }
    for (const [sessionId, session] of this.sessions) {
      if (session.label === request.label) await this.end({ sessionId });
    }
    const client = await this.options.connect();
    try {
      const { dataDirectory, fastCheckpoint } = this.options;
      const session = await OpenBackup.begin(request.label, dataDirectory, client, fastCheckpoint ?? true);
      this.sessions.set(session.facts.sessionId, session);
      return session.facts;
    } catch (error) {
      await client.end();
      throw error;
    }
  }

  private async using<T>(sessionId: string, work: (session: OpenBackup) => Promise<T>): Promise<T> {
    const session = this.sessions.get(sessionId);
    if (!session) throw new BackupSessionLostError({ detail: 'unknown to this source' });
    session.use();
    return work(session);
  }

  /** Only what the manifest lists can be asked for: a path out of the data directory is none of it. */
  private filesOf(session: OpenBackup, ranges: readonly BackupRange[]): FileRange[] {
    const bytes = ranges.reduce((sum, range) => sum + range.length, 0);
    if (bytes > REQUEST_BYTES_MAX) throw new BackupRefusedError('Ask for less at once.', { detail: `${bytes} bytes` });
    return ranges.map((range) => {
      if (!session.listing.files.has(range.path)) {
        throw new BackupRefusedError('The backup holds no such file.', { detail: range.path });
      }
      // Of the server's user only: what this process reads as root must not be more than what the server could read.
      const file = path.join(this.options.dataDirectory, range.path);
      return { ...range, opening: () => openPlain(file, session.owner) };
    });
  }

  private async endIdle(): Promise<void> {
    const now = performance.now();
    for (const [sessionId, session] of this.sessions) {
      if (now - session.lastUsed > this.idleExpiryMs) await this.end({ sessionId });
    }
  }
}

interface FileRange extends BackupRange {
  readonly opening: Opening;
}

async function* frames(
  ranges: readonly FileRange[],
  compress: boolean,
  session: OpenBackup,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for (const { opening, offset, length } of ranges) {
    for await (const bytes of readRange(opening, offset, length, CHUNK_BYTES)) {
      signal?.throwIfAborted();
      session.use();
      yield* await encodeFrame(bytes, compress);
    }
    yield END_OF_RANGE;
  }
}

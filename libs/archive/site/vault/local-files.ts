import { createHash } from 'node:crypto';
import { link, open, rename, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { errorCode, errorText } from '#libs/platform/errors';
import { Buffers } from './buffers.js';
import type { ByteRange, IncomingObject, StoredObject } from './storage.js';
import { StorageFullError } from './vault.errors.js';

const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
/** Two for each object on its way: 25 MiB when fifty clients are at work. */
const BUFFERS = new Buffers(256 * 1024, 64);

/** One object on its way into a local file system. */
export class IncomingFile implements IncomingObject {
  readonly copies = true;
  private open = true;
  private named = false;
  private filling = BUFFERS.take();
  private filled = 0;
  private other = BUFFERS.take();
  private writing: Promise<void> = Promise.resolve();
  /** Also after a failure, which whoever comes next then meets. */
  private busy = false;
  /** A write that found both buffers in use. */
  private blocked: Promise<void> | undefined;
  private readonly hash = createHash('sha256');

  constructor(
    private readonly handle: FileHandle,
    private readonly temporary: string,
    private readonly final: string,
  ) {}

  write(chunk: Buffer): Promise<void> | undefined {
    if (this.blocked) throw new Error('an object was written to before the last write was through');
    const left = this.fill(chunk);
    if (!left) return undefined;
    return (this.blocked = this.goOn(left).finally(() => (this.blocked = undefined)));
  }

  async digest(): Promise<string> {
    await this.written();
    return this.hash.digest('hex');
  }

  async commit(): Promise<'stored' | 'exists'> {
    await this.sync();
    const outcome = await fullIsNamed(() => link(this.temporary, this.final)).then(
      () => 'stored' as const,
      (error: unknown) => {
        if (errorCode(error) === 'EEXIST') return 'exists' as const;
        throw error;
      },
    );
    await unlink(this.temporary);
    this.named = true;
    // Also when it exists: whoever stored it may not have come this far, and we are about to vouch for it.
    await syncFolder(path.dirname(this.final));
    return outcome;
  }

  async replace(): Promise<void> {
    const present = await statObject(this.final);
    // Whatever is written afterwards would be a change of now.
    await this.written();
    if (present) await this.handle.utimes(present.receivedAt, present.receivedAt);
    await this.sync();
    await rename(this.temporary, this.final);
    this.named = true;
    await syncFolder(path.dirname(this.final));
  }

  async discard(): Promise<void> {
    await this.close();
    if (!this.named) await rm(this.temporary, { force: true });
  }

  private async goOn(chunk: Buffer): Promise<void> {
    for (let left: Buffer | undefined = chunk; left; left = this.fill(left)) await this.writing;
  }

  /** @returns what found no room, since one buffer is full and the other is being written. */
  private fill(chunk: Buffer): Buffer | undefined {
    for (let from = 0; from < chunk.length;) {
      if (this.filled === this.filling.length) {
        if (this.busy) return chunk.subarray(from);
        this.flush();
      }
      const copied = chunk.copy(this.filling, this.filled, from);
      from += copied;
      this.filled += copied;
    }
    return undefined;
  }

  /** Only when it is not busy: one buffer is written while the other is filled. */
  private flush(): void {
    const [full, bytes] = [this.filling, this.filled];
    this.busy = true;
    this.writing = fullIsNamed(() => writeAll(this.handle, full, bytes)).then(() => {
      this.hash.update(full.subarray(0, bytes));
      this.busy = false;
    });
    this.writing.catch(() => undefined);
    this.filling = this.other;
    this.other = full;
    this.filled = 0;
  }

  /** All that came is in the file, though not yet on the disk. */
  private async written(): Promise<void> {
    await this.idle();
    if (this.filled > 0) this.flush();
    await this.idle();
  }

  private async idle(): Promise<void> {
    await this.blocked;
    await this.writing;
  }

  private async sync(): Promise<void> {
    await this.written();
    await fullIsNamed(() => this.handle.sync());
    await this.close();
  }

  private async close(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    // Only then are the buffers nobody's: a write that waited would go on into what is another object's by then.
    await this.idle().catch(() => undefined);
    BUFFERS.give(this.filling);
    BUFFERS.give(this.other);
    await this.handle.close();
  }
}

async function writeAll(handle: FileHandle, buffer: Buffer, bytes: number): Promise<void> {
  for (let written = 0; written < bytes;) {
    written += (await handle.write(buffer, written, bytes - written)).bytesWritten;
  }
}

/**
 * A file's bytes, the next piece being read while one is in use. A piece is its reader's until it asks for the next.
 * Closes the file.
 */
export async function* pieces(handle: FileHandle, { first, last }: ByteRange): AsyncGenerator<Buffer, void> {
  const [one, two] = [BUFFERS.take(), BUFFERS.take()];
  let reading: Promise<unknown> = Promise.resolve();
  try {
    const read = (into: Buffer, at: number): Promise<Buffer> => {
      const piece = readAll(handle, into.subarray(0, Math.min(into.length, last + 1 - at)), at);
      reading = piece.catch(() => undefined);
      return piece;
    };
    let next = first <= last ? read(one, first) : undefined;
    for (let at = first, turn = 0; next; turn += 1) {
      const piece = await next;
      at += piece.length;
      next = at <= last ? read(turn % 2 === 0 ? two : one, at) : undefined;
      yield piece;
    }
    // Not after a failure: the last piece may still be on its way to somebody.
    BUFFERS.give(one);
    BUFFERS.give(two);
  } finally {
    await reading;
    await handle.close();
  }
}

/** @throws Error when the file ends before: it was cut behind our back */
async function readAll(handle: FileHandle, into: Buffer, at: number): Promise<Buffer> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await handle.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) throw new Error(`a file ends ${into.length - done} bytes before it should`);
    done += bytesRead;
  }
  return into;
}

export async function statObject(file: string): Promise<StoredObject | undefined> {
  try {
    const found = await stat(file);
    return { bytes: found.size, receivedAt: found.mtime };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** A name is durable only once its folder is (fsync(2)). */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function fullIsNamed<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (FULL.has(errorCode(error) ?? '')) throw new StorageFullError(errorText(error));
    throw error;
  }
}

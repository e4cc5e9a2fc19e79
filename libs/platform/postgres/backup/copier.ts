import type { FileHandle } from 'node:fs/promises';
import type { BandwidthLimit } from './bandwidth.js';
import { differing, type Batch } from './batches.js';
import { hashBlocks } from './blocks.js';
import { FrameReader } from './frames.js';
import type { ProgressMeter } from './progress.js';
import type { DoneRange } from './receipt.js';
import type { BackupTarget } from './target.js';
import type { BackupEntry, BackupTransport } from './wire.js';

export interface CopierOptions {
  readonly transport: BackupTransport;
  readonly sessionId: string;
  readonly entries: readonly BackupEntry[];
  readonly target: BackupTarget;
  readonly limit: BandwidthLimit;
  readonly meter: ProgressMeter;
  readonly compress: boolean;
  readonly signal: AbortSignal;
}

/** Below this, asking for hashes costs more than the bytes. */
const WORTH_HASHING = 64 * 1024;
const HASH_BYTES = 27;

/** Brings batches into place: finds what is here already, transfers the rest. */
export class BatchCopier {
  constructor(private readonly options: CopierOptions) {}

  /** @param reuse whether local contents may be the source's, so that hashes are compared first. */
  async copy(batch: Batch, reuse: boolean): Promise<void> {
    const missing = reuse ? await this.missing(batch) : batch;
    if (missing.length > 0) await this.transfer(missing);
    this.options.meter.done(bytesOf(batch));
  }

  /** Files without content are in no batch; and what is longer here than at the source is cut. */
  async finishEmptyFiles(): Promise<void> {
    const { entries, target } = this.options;
    for (const entry of entries) {
      if (entry.kind !== 'file') continue;
      if (entry.size === 0) {
        const handle = await target.open(entry);
        await handle.truncate(0).finally(() => handle.close());
      } else {
        await target.cut(entry, entry.size);
      }
    }
  }

  private async missing(batch: Batch): Promise<Batch> {
    const { target, transport, sessionId, signal, meter, limit } = this.options;
    const local = await Promise.all(
      batch.map(async (range) => Math.max(0, (await target.size(this.entry(range))) - range.offset)),
    );
    const known = batch.filter((_range, at) => (local[at] ?? 0) > 0);
    if (bytesOf(known) < WORTH_HASHING) return batch;
    const ours: string[][] = [];
    for (const range of known) {
      const opening = () => target.openPresent(this.entry(range));
      ours.push(await hashBlocks(opening, range.offset, range.length));
    }
    const answer = await transport.hashes({ sessionId, ranges: known.map((range) => this.wireRange(range)) }, signal);
    const bytes = answer.hashes.flat().length * HASH_BYTES;
    await limit.take(bytes, signal);
    meter.bytesTransferred += bytes;
    const unknown = batch.filter((range) => !known.includes(range));
    return [...unknown, ...differing(known, ours, answer.hashes)];
  }

  private async transfer(ranges: Batch): Promise<void> {
    const { transport, sessionId, compress, signal, limit, meter } = this.options;
    const reserved = bytesOf(ranges);
    await limit.take(reserved, signal);
    const request = { sessionId, ranges: ranges.map((range) => this.wireRange(range)), compress };
    const reader = new FrameReader(await transport.read(request, signal));
    try {
      for (const range of ranges) await this.write(range, reader);
    } finally {
      await reader.close();
      meter.bytesTransferred += reader.received;
      limit.giveBack(reserved - reader.received);
    }
  }

  private async write(range: DoneRange, reader: FrameReader): Promise<void> {
    const entry = this.entry(range);
    const end = range.offset + range.length;
    let handle: FileHandle | undefined;
    let at = range.offset;
    try {
      for (;;) {
        const bytes = await reader.next();
        if (!bytes) break;
        this.options.signal.throwIfAborted();
        if (at + bytes.length > end) throw new RangeError('the source sent more than was asked for');
        handle ??= await this.options.target.open(entry);
        await writeFully(handle, bytes, at);
        at += bytes.length;
      }
    } finally {
      await handle?.close();
    }
    // The file has shrunk at the source since it was listed: what lay behind is in the write-ahead log.
    if (at < end) await this.options.target.cut(entry, at);
  }

  private entry(range: DoneRange): BackupEntry {
    const entry = this.options.entries[range.entry];
    if (!entry) throw new RangeError('a range of no file');
    return entry;
  }

  private wireRange(range: DoneRange) {
    return { path: this.entry(range).path, offset: range.offset, length: range.length };
  }
}

function bytesOf(ranges: Batch): number {
  return ranges.reduce((sum, range) => sum + range.length, 0);
}

async function writeFully(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const result = await handle.write(bytes, written, bytes.length - written, position + written);
    written += result.bytesWritten;
  }
}

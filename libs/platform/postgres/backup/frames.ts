import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { FRAME_BYTES_MAX } from './wire.js';

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const COMPRESSED = 0x8000_0000;
const HEAD_BYTES = 4;
export const END_OF_RANGE = Buffer.alloc(HEAD_BYTES);

/** Database pages compress well, and an agency's uplink is slow: level 1 costs less than the time it saves. */
const FAST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** One frame of a read's answer; compressed only where that saves an eighth. */
export async function encodeFrame(bytes: Buffer, mayCompress: boolean): Promise<Buffer[]> {
  const packed = mayCompress && bytes.length > 512 ? await compress(bytes, FAST) : undefined;
  const use = packed !== undefined && packed.length < bytes.length * 0.875;
  const payload = use ? packed : bytes;
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(payload.length + (use ? COMPRESSED : 0));
  return [head, payload];
}

/** Reads the frames of an answer one after the other. */
export class FrameReader {
  private readonly source: AsyncIterator<Uint8Array>;
  private readonly waiting: Buffer[] = [];
  private buffered = 0;
  /** Bytes that came over the line so far, heads included. */
  received = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.source = source[Symbol.asyncIterator]();
  }

  /**
   * The next frame's bytes; undefined at the end of a range.
   *
   * @throws RangeError for a frame that no source of ours makes, Error when the stream ends early.
   */
  async next(): Promise<Buffer | undefined> {
    const head = (await this.take(HEAD_BYTES)).readUInt32BE();
    if (head === 0) return undefined;
    const packed = head >= COMPRESSED;
    const length = packed ? head - COMPRESSED : head;
    if (length > FRAME_BYTES_MAX) throw new RangeError(`a frame of ${length} bytes`);
    const payload = await this.take(length);
    return packed ? decompress(payload, { maxOutputLength: FRAME_BYTES_MAX }) : payload;
  }

  /** Ends the stream, also one that has more to give. */
  async close(): Promise<void> {
    await this.source.return?.();
  }

  private async take(bytes: number): Promise<Buffer> {
    while (this.buffered < bytes) {
      const { value, done } = await this.source.next();
      if (done) throw new Error('the backup stream ended early');
      this.waiting.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      this.buffered += value.byteLength;
      this.received += value.byteLength;
    }
    this.buffered -= bytes;
    const first = this.waiting[0];
    if (first && first.length >= bytes) {
      if (first.length === bytes) this.waiting.shift();
      else this.waiting[0] = first.subarray(bytes);
      return first.subarray(0, bytes);
    }
    const all = Buffer.concat(this.waiting);
    this.waiting.length = 0;
    if (all.length > bytes) this.waiting.push(all.subarray(bytes));
    return all.subarray(0, bytes);
  }
}

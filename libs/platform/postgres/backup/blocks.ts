import { hash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { ifPresent } from './listing.js';
import { BLOCK_BYTES } from './wire.js';

/** 144 of SHA-256's bits: more than chance or malice can match, in 24 characters. */
const HASH_CHARACTERS = 24;

/** One hash per block of the range, the last one short if it must be; none for a file that is not there. */
export async function hashBlocks(file: string, offset: number, length: number): Promise<string[]> {
  const hashes: string[] = [];
  const buffer = Buffer.allocUnsafe(BLOCK_BYTES);
  await withFile(file, async (handle) => {
    for (let at = offset; at < offset + length; at += BLOCK_BYTES) {
      const bytes = await readFully(handle, buffer.subarray(0, Math.min(BLOCK_BYTES, offset + length - at)), at);
      if (bytes.length > 0) hashes.push(hash('sha256', bytes, 'base64').slice(0, HASH_CHARACTERS));
      if (bytes.length < BLOCK_BYTES) return;
    }
  });
  return hashes;
}

/** The bytes of a range in chunks; it ends early where the file does. */
export async function* readRange(
  file: string,
  offset: number,
  length: number,
  chunkBytes: number,
): AsyncGenerator<Buffer> {
  const handle = await ifPresent(open(file, 'r'));
  if (!handle) return;
  try {
    for (let at = offset; at < offset + length; at += chunkBytes) {
      const wanted = Math.min(chunkBytes, offset + length - at);
      const bytes = await readFully(handle, Buffer.allocUnsafe(wanted), at);
      if (bytes.length > 0) yield bytes;
      if (bytes.length < wanted) return;
    }
  } finally {
    await handle.close();
  }
}

async function withFile(file: string, work: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await ifPresent(open(file, 'r'));
  if (!handle) return;
  try {
    await work(handle);
  } finally {
    await handle.close();
  }
}

async function readFully(handle: FileHandle, into: Buffer, position: number): Promise<Buffer> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await handle.read(into, filled, into.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return into.subarray(0, filled);
}

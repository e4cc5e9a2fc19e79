import { hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { ifPresent } from '../../errors/index.js';
import { BLOCK_BYTES } from './wire.js';

/** 144 of SHA-256's bits: more than chance or malice can match, in 24 characters. */
const HASH_CHARACTERS = 24;

/** Opens a file, or fails with ENOENT where there is none. */
export type Opening = () => Promise<FileHandle>;

/** One hash per block of the range, the last one short if it must be; none for a file that is not there. */
export async function hashBlocks(opening: Opening, offset: number, length: number): Promise<string[]> {
  const hashes: string[] = [];
  const buffer = Buffer.allocUnsafe(BLOCK_BYTES);
  await withFile(opening, async (handle) => {
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
  opening: Opening,
  offset: number,
  length: number,
  chunkBytes: number,
): AsyncGenerator<Buffer> {
  const handle = await ifPresent(opening());
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

async function withFile(opening: Opening, work: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await ifPresent(opening());
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

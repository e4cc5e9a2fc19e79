import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';

const BLOCK = 512;

/**
 * Bytes that a directory's files occupy, holes left out and hard links counted once; 0 when there is none. Files that go
 * while it counts are left out. Symbolic links are not followed.
 */
export async function directoryUsage(directory: string, counted: Set<string> = new Set()): Promise<number> {
  const entries = (await ifPresent(readdir(directory, { withFileTypes: true }))) ?? [];
  let bytes = 0;
  for (const entry of entries) {
    const child = path.join(directory, entry.name);
    if (entry.isDirectory()) bytes += await directoryUsage(child, counted);
    else bytes += await fileUsage(child, counted);
  }
  return bytes;
}

async function fileUsage(file: string, counted: Set<string>): Promise<number> {
  const status = await ifPresent(lstat(file));
  if (!status) return 0;
  if (status.nlink > 1) {
    const identity = `${status.dev}:${status.ino}`;
    if (counted.has(identity)) return 0;
    counted.add(identity);
  }
  return status.blocks * BLOCK;
}

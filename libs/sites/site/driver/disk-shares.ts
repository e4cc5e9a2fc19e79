import { statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { errorCode } from '#libs/platform/errors';
import type { Capacity } from './driver.js';

/** An unreachable follower of a promoted server may cost a fifth of the disk, and no more. */
export async function slotBudget(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return Math.max(1024 ** 3, (bavail * bsize) / 5);
}

/** Kept WAL must leave room for other standbys, and for a seeding. */
export async function walReserve(directory: string): Promise<number> {
  const { blocks, bsize } = await statfs(directory);
  return Math.max(2e9, (blocks * bsize) / 10);
}

/** What the host has. Asked each second: the folder is made ready only when it is not there yet. */
export async function capacityOf(root: string, makeReady: () => Promise<void>): Promise<Capacity> {
  const { blocks, bavail, bsize } = await statfs(root).catch(async (error: unknown) => {
    if (errorCode(error) !== 'ENOENT') throw error;
    await makeReady();
    return statfs(root);
  });
  return {
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    diskBytes: blocks * bsize,
    diskFreeBytes: bavail * bsize,
  };
}

import { statfs } from 'node:fs/promises';

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

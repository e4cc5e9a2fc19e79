import { copyFile, mkdir, readdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import { walSegmentName, type PostgresServer } from '#libs/platform/postgres';

/** Left free for everything else on that disk. */
const RESERVE_BYTES = 2 * 1024 ** 3;

/**
 * Copies the log from the fork on to where no server recycles it: somebody may start the fenced server to read it. Only
 * where there is room; the data directory keeps it as well. Safe to repeat.
 *
 * @returns the directory of the copies, or null when there was no room.
 */
export async function keepLog(server: PostgresServer, forkedAtLsn: string, target: string): Promise<string | null> {
  const { timeline, walSegmentBytes } = await server.controlData();
  const first = walSegmentName(timeline, forkedAtLsn, walSegmentBytes);
  const source = path.join(server.directory, 'pg_wal');
  // Names of one timeline sort by position.
  const names = (await readdir(source))
    .filter((name) => /^[0-9A-F]{24}$/.test(name) && name.slice(0, 8) === first.slice(0, 8) && name >= first)
    .sort();
  await mkdir(target, { recursive: true, mode: 0o700 });
  const { bavail, bsize } = await statfs(target);
  if (bavail * bsize < names.length * walSegmentBytes + RESERVE_BYTES) return null;
  for (const name of names) {
    const copy = path.join(target, name);
    const present = await ifPresent(stat(copy));
    if (present?.size !== walSegmentBytes) await copyFile(path.join(source, name), copy);
  }
  return target;
}

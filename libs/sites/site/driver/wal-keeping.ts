import { readdir } from 'node:fs/promises';
import { ifPresent } from '#libs/platform/errors';
import { shellQuote } from './standby-configuration.js';

const MISSING = '.missing';
const SEGMENT = /^[0-9A-F]{24}$/;

/**
 * The archive_command of a standby: keeps every finished WAL file from the first day, for recovery to a moment.
 *
 * A hard link costs neither time nor space, and stays good because finished segments are not used again (wal_recycle is
 * off); across file systems the file is copied, synced and renamed. When the disk runs full, WAL that could not be kept
 * is noted as missing instead of failing: PostgreSQL would otherwise hold all later WAL back in pg_wal until the disk is
 * full and the standby stops, and production with it.
 */
export function keepWalScript(directory: string, reserveBytes: number): string {
  const reserve = Math.ceil(reserveBytes / 1024);
  return `#!/bin/sh
# Called by PostgreSQL with the path and the name of a finished WAL file.
kept=${shellQuote(directory)}
[ -e "$kept/$2" ] && exit 0
free=$(df -Pk "$kept" | awk 'NR == 2 { print $4 }')
if [ "\${free:-0}" -ge ${reserve} ]; then
  ln "$1" "$kept/$2" 2>/dev/null && sync "$kept" && exit 0
  cp "$1" "$kept/.$2.part" && sync "$kept/.$2.part" && mv "$kept/.$2.part" "$kept/$2" && sync "$kept" && exit 0
  free=$(df -Pk "$kept" | awk 'NR == 2 { print $4 }')
  # With room enough it is another fault, which PostgreSQL reports and tries again.
  [ "\${free:-0}" -ge ${reserve * 4} ] && exit 1
fi
: > "$kept/$2${MISSING}"
exit 0
`;
}

export interface KeptWal {
  /** Names of the segments that are kept, oldest first. */
  readonly segments: readonly string[];
  /** Segments that could not be kept because the disk was full: no recovery goes across one. */
  readonly missing: readonly string[];
}

/** What is kept in one folder of WAL. */
export async function listKeptWal(directory: string): Promise<KeptWal> {
  const names = ((await ifPresent(readdir(directory))) ?? []).sort();
  const segments = names.filter((name) => SEGMENT.test(name));
  const missing = names
    .filter((name) => name.endsWith(MISSING))
    .map((name) => name.slice(0, -MISSING.length))
    .filter((name) => !segments.includes(name));
  return { segments, missing };
}

import { type CanaryFound, PATHS_SEEN } from '#contracts/archive';
import type { Contents } from './contents.js';

/** A canary as it was restored. */
export interface SeenCanary extends CanaryFound {
  /** Null: it is not there. */
  readonly sha256: string | null;
}

export interface LostRows {
  readonly table: string;
  readonly before: number;
  readonly now: number;
}

/** What a test restore saw of one recovery point, beyond that it can be restored. */
export interface Seen {
  /** Of folders. */
  readonly contents: Contents | null;
  readonly canaries: readonly SeenCanary[];
  /** Of a dump that was loaded, against the last one of its database that was: null where there was none. */
  readonly tables: {
    readonly compared: number;
    readonly lost: number;
    /** The first of them. */
    readonly worst: readonly LostRows[];
  } | null;
  /** Of a dump: it could not be loaded, and one before it could; null: it could not, and none before it. */
  readonly unloadable: boolean | null;
}

export const NOTHING_SEEN: Seen = { contents: null, canaries: [], tables: null, unloadable: null };

/** In a smaller table one deleted row is much. */
const ROWS_NEEDED = 20;

/** The tables that lost most of their rows, or are gone; the emptiest first. */
export function lostRows(
  before: Readonly<Record<string, number>> | null,
  now: Readonly<Record<string, number>>,
): Seen['tables'] {
  if (before === null) return null;
  const compared = Object.entries(before).filter(([, count]) => count >= ROWS_NEEDED);
  const lost = compared
    .map(([table, count]) => ({ table, before: count, now: now[table] ?? 0 }))
    .filter((each) => each.now * 2 < each.before)
    .sort((a, b) => a.now / a.before - b.now / b.before);
  return { compared: compared.length, lost: lost.length, worst: lost.slice(0, PATHS_SEEN) };
}

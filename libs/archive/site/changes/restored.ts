import { type ChangeSignal, PATHS_SEEN } from '#contracts/archive';
import type { Seen } from '../proof/seen.js';

/** What test restores saw of a run's recovery points, in numbers that can be compared. Null: nothing to compare. */
export interface Restored {
  readonly contents: { readonly looked: number; readonly wrong: number } | null;
  readonly canaries: { readonly compared: number; readonly changed: number } | null;
  readonly tables: { readonly compared: number; readonly lost: number } | null;
  /** Databases whose dumps were loaded before, and now not. */
  readonly loads: { readonly tried: number; readonly failed: number } | null;
}

/** What each signal is about: files, databases and tables by name, {@link PATHS_SEEN} at most. */
export type Evidence = Readonly<Partial<Record<ChangeSignal['signal'], readonly string[]>>>;

/** The signals that come of test restores. */
export const OF_RESTORES = [
  'wrong-contents',
  'canary',
  'load-failed',
  'rows-lost',
] as const satisfies readonly ChangeSignal['signal'][];

export interface SeenPart {
  /** Of a dump: which database. */
  readonly part: string | null;
  readonly seen: Seen;
}

const COMPARED: ReadonlySet<string> = new Set(['unchanged', 'changed', 'missing']);
const first = (names: readonly string[]): readonly string[] => names.slice(0, PATHS_SEEN);
const sum = (numbers: readonly number[]): number => numbers.reduce((all, each) => all + each, 0);

/** The sums over a run's parts, and what they are about. */
export function restoredOf(parts: readonly SeenPart[]): { readonly restored: Restored; readonly evidence: Evidence } {
  const contents = parts.flatMap(({ seen }) => seen.contents ?? []);
  const canaries = parts.flatMap(({ seen }) => seen.canaries.filter(({ state }) => COMPARED.has(state)));
  const changed = canaries.filter(({ state }) => state !== 'unchanged');
  const tables = parts.flatMap(({ part, seen }) => (seen.tables ? { part, ...seen.tables } : []));
  const loads = parts.filter(({ seen }) => seen.unloadable !== null);
  const failed = loads.filter(({ seen }) => seen.unloadable === true);
  return {
    restored: {
      contents:
        contents.length === 0
          ? null
          : { looked: sum(contents.map(({ looked }) => looked)), wrong: sum(contents.map(({ wrong }) => wrong)) },
      canaries: canaries.length === 0 ? null : { compared: canaries.length, changed: changed.length },
      tables:
        tables.length === 0
          ? null
          : { compared: sum(tables.map(({ compared }) => compared)), lost: sum(tables.map(({ lost }) => lost)) },
      loads: loads.length === 0 ? null : { tried: loads.length, failed: failed.length },
    },
    evidence: {
      'wrong-contents': first(contents.flatMap(({ paths }) => paths)),
      canary: first(changed.map(({ path }) => path)),
      'rows-lost': first(
        tables.flatMap(({ part, worst }) =>
          worst.map(({ table, before, now }) => `${part ?? ''}: ${table} (${before} rows → ${now})`),
        ),
      ),
      'load-failed': first(failed.map(({ part }) => part ?? '')),
    },
  };
}

import type { ChangeSignal, SourceKind, WorkResult } from '#contracts/archive';
import type { Evidence, Restored } from './restored.js';

/** What one run did, in numbers that can be compared with those of other runs. Shares are of the files there were before. */
export interface Measures {
  readonly filesBefore: number;
  readonly removed: number;
  readonly changed: number;
  readonly renamed: number;
  /** Bytes that the repository took more of. */
  readonly packed: number;
  /** Packed by raw: 1 is what cannot be compressed, as encrypted data cannot. Null: too little was added to say. */
  readonly density: number | null;
  /** Snapshots that no run of ours made, since the run before. */
  readonly strangers: number;
  /** Removals and replacements that the vault has refused, since the run before. */
  readonly refused: number;
  /** What a test restore of its recovery points saw; left out: none has been made, or can be. */
  readonly restored?: Restored;
}

type Signal = ChangeSignal['signal'];

const MEGABYTE = 2 ** 20;
/** Below it, a header or two decide how well something is compressed. */
const DENSITY_BYTES = 4 * MEGABYTE;
/** So many earlier runs are needed before sizes can be called usual; of what a restore saw, one tells what is usual here. */
const RUNS_NEEDED = 5;
const PROOFS_NEEDED = 1;
/** A number so many deviations above the median is unusual; one in some millions where it is left to chance. */
const DEVIATIONS = 6;
/** MAD → standard deviation, for numbers that lie around the median as chance has it. */
const NORMAL = 1.4826;

/** The sums of a run's parts. `removed` and `renamed` are the agent's word, as is every number of it after a break-in. */
export function measure(
  { snapshots, renamedCount }: Pick<WorkResult, 'snapshots' | 'renamedCount'>,
  seen: { readonly storedMore: number | null; readonly strangers: number; readonly refused: number },
): Measures {
  const sum = (of: (summary: WorkResult['snapshots'][number]['summary']) => number | null) =>
    snapshots.reduce((all, { summary }) => all + (of(summary) ?? 0), 0);
  const [removed, changed, raw] = [sum((s) => s.filesRemoved), sum((s) => s.filesChanged), sum((s) => s.bytesAdded)];
  const packed = sum((s) => s.bytesAddedPacked);
  return {
    filesBefore: removed + changed + sum((s) => s.filesUnmodified),
    removed,
    changed,
    renamed: renamedCount ?? 0,
    // The vault has counted, too, and nobody at the agency can change that.
    packed: Math.max(packed, seen.storedMore ?? 0),
    density: raw >= DENSITY_BYTES ? Math.min(packed / raw, 1) : null,
    strangers: seen.strangers,
    refused: seen.refused,
  };
}

interface Rule {
  readonly signal: Signal;
  /** Whether it says that something was destroyed, or that somebody tried. */
  readonly destroys: boolean;
  readonly value: (measures: Measures) => number | null | undefined;
  /** Whether it is of so many that it says anything; left out: always. */
  readonly enough?: (measures: Measures) => boolean;
  /** Never unusual below this, however calm the runs before were. */
  readonly floor: number;
  /** So much above what is usual is chance. */
  readonly margin?: number;
  /** How many earlier runs must have the number, before it can be said. */
  readonly needs: number;
  /** It is or it is not: neither what was usual before nor a false alarm makes it usual. */
  readonly fact?: true;
  readonly what: (measures: Measures, paths: readonly string[]) => string;
}

/** A share counts once it is of so many files: three of ten is a tidy clerk. */
const FILES_NEEDED = 20;
const share = (count: number, of: number): number => (count >= FILES_NEEDED && of > 0 ? count / of : 0);
/** Fewer wrong files are any agency's, whatever share of a small archive they are. */
const WRONG_NEEDED = 5;
const percent = (part: number): string => `${Math.round(part * 100)} %`;
const some = (paths: readonly string[]): string =>
  paths.length === 0 ? '' : `, such as ${paths.slice(0, 3).join(', ')}`;

const RULES: readonly Rule[] = [
  {
    signal: 'deletions',
    destroys: true,
    value: (run) => share(run.removed, run.filesBefore),
    floor: 0.1,
    needs: 0,
    what: (run) => `${run.removed} of ${run.filesBefore} files were removed`,
  },
  {
    signal: 'changes',
    destroys: true,
    value: (run) => share(run.changed, run.filesBefore),
    floor: 0.25,
    needs: 0,
    what: (run) => `${run.changed} of ${run.filesBefore} files were changed`,
  },
  {
    signal: 'renames',
    destroys: true,
    value: (run) => share(run.renamed, run.filesBefore),
    floor: 0.1,
    needs: 0,
    what: (run) => `${run.renamed} of ${run.filesBefore} files have another name`,
  },
  {
    signal: 'growth',
    destroys: false,
    value: (run) => run.packed,
    floor: 64 * MEGABYTE,
    needs: RUNS_NEEDED,
    what: (run) => `the repository took ${Math.ceil(run.packed / MEGABYTE)} MB more`,
  },
  {
    signal: 'entropy',
    destroys: false,
    value: (run) => run.density,
    floor: 0.9,
    needs: 0,
    what: (run) => `what was added could be compressed to ${percent(run.density ?? 1)} only, as encrypted files can`,
  },
  {
    signal: 'snapshot-burst',
    destroys: true,
    value: (run) => run.strangers,
    floor: 10,
    needs: 0,
    what: (run) => `${run.strangers} recovery points were made by no run of ours`,
  },
  {
    signal: 'refused-deletes',
    destroys: true,
    value: (run) => run.refused,
    floor: 3,
    needs: 0,
    what: (run) => `${run.refused} times somebody tried to take away or replace what is kept`,
  },
  {
    signal: 'wrong-contents',
    destroys: true,
    value: ({ restored }) => restored?.contents && restored.contents.wrong / Math.max(1, restored.contents.looked),
    enough: ({ restored }) => (restored?.contents?.wrong ?? 0) >= WRONG_NEEDED,
    floor: 0.1,
    // Three deviations of the difference of two samples of 400, where a third of the files are wrong.
    margin: 0.1,
    needs: PROOFS_NEEDED,
    what: ({ restored }, paths) =>
      `${restored?.contents?.wrong} of ${restored?.contents?.looked} files that were restored as a test are not what their names promise${some(paths)}`,
  },
  {
    signal: 'canary',
    destroys: true,
    value: ({ restored }) => restored?.canaries && restored.canaries.changed,
    floor: 0,
    needs: 0,
    fact: true,
    what: ({ restored }, paths) =>
      `${restored?.canaries?.changed} of ${restored?.canaries?.compared} canaries were changed or are gone: ${paths.slice(0, 3).join(', ')}`,
  },
  {
    signal: 'load-failed',
    destroys: true,
    value: ({ restored }) => restored?.loads && restored.loads.failed,
    floor: 0,
    needs: 0,
    fact: true,
    what: ({ restored }, paths) =>
      `${restored?.loads?.failed} of ${restored?.loads?.tried} databases cannot be loaded any more from their dumps: ${paths.slice(0, 3).join(', ')}`,
  },
  {
    signal: 'rows-lost',
    destroys: true,
    value: ({ restored }) => restored?.tables && restored.tables.lost,
    floor: 0,
    needs: 0,
    what: ({ restored }, paths) =>
      `${restored?.tables?.lost} of ${restored?.tables?.compared} tables lost most of their rows${some(paths)}`,
  },
];

/** Limits that people have raised by saying that an alarm was false, by signal. */
export type Learnt = Readonly<Partial<Record<Signal, number>>>;

/** Which numbers of a run are not as those of the runs before it. */
export function unusual(
  run: Measures,
  before: readonly Measures[],
  learnt: Learnt,
  evidence: Evidence = {},
): readonly ChangeSignal[] {
  const found: ChangeSignal[] = [];
  for (const { signal, value, enough = () => true, floor, margin = 0, needs, fact, what } of RULES) {
    const now = value(run) ?? null;
    const earlier = fact ? [] : before.map(value).filter((each) => each !== null && each !== undefined);
    if (now === null || !enough(run) || earlier.length < needs) continue;
    const usual = earlier.length === 0 ? null : median(earlier);
    const spread = usual === null ? 0 : NORMAL * median(earlier.map((each) => Math.abs(each - usual)));
    const most = (usual ?? 0) + Math.max(margin, DEVIATIONS * spread);
    const limit = fact ? floor : Math.max(floor, most, (usual ?? 0) * 1.1, learnt[signal] ?? 0);
    const paths = evidence[signal] ?? [];
    const about = paths.length > 0 ? { paths: [...paths] } : {};
    if (now > limit) found.push({ signal, value: now, usual, limit, what: what(run, paths), ...about });
  }
  return found;
}

/**
 * Two signals that do not say the same make a suspicion. Much new that cannot be compressed is a folder of photographs,
 * unless something was destroyed with it; of a dump nothing else can be seen.
 */
export function isSuspicious(signals: readonly ChangeSignal[], source: SourceKind): boolean {
  if (signals.length < 2) return false;
  const destroyed = signals.some(({ signal }) => RULES.some((rule) => rule.signal === signal && rule.destroys));
  return destroyed || source !== 'files';
}

/** What a false alarm teaches: so much is nothing unusual here. */
export function learn(falseAlarms: readonly (readonly ChangeSignal[])[]): Learnt {
  const limits: Partial<Record<Signal, number>> = {};
  for (const { signal, value } of falseAlarms.flat()) limits[signal] = Math.max(limits[signal] ?? 0, value * 1.25);
  return limits;
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

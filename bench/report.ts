import { cpus, release, totalmem } from 'node:os';

/** One line of a benchmark: our median beside a reference's from the same run. */
export interface BenchResult {
  readonly case: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  readonly ours: number;
  readonly reference: number;
  readonly referenceName: string;
  /** ours / reference. */
  readonly ratio: number;
  /** How often each side was measured; both values are medians. */
  readonly runs: number;
}

export interface BenchReport {
  readonly name: string;
  readonly machine: string;
  readonly when: string;
  readonly how: string;
  readonly results: readonly BenchResult[];
}

export interface BenchOptions {
  /** Fewer rounds and less data, to see that it works. */
  readonly quick: boolean;
  /** Instead of the benchmark's own number. */
  readonly rounds?: number;
  /** vault-scale. */
  readonly repositories?: number;
  /** vault-scale. */
  readonly clients?: number;
  /** archive: of the tree, in 10⁹ bytes. */
  readonly gigabytes?: number;
  /** archive: of the tree's bytes, what a day changes. */
  readonly percent?: number;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the median of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

/** A result from both sides' measurements. */
export function compare(
  what: Pick<BenchResult, 'case' | 'unit' | 'better' | 'referenceName'>,
  ours: readonly number[],
  reference: readonly number[],
): BenchResult {
  const [mine, theirs] = [median(ours), median(reference)];
  const round = (value: number): number => Number(value.toPrecision(4));
  return { ...what, ours: round(mine), reference: round(theirs), ratio: round(mine / theirs), runs: ours.length };
}

export function machineName(): string {
  const [first] = cpus();
  return `${cpus().length} × ${first?.model.trim() ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${release()}`;
}

/** The report as a table of text. */
export function asTable(report: BenchReport): string {
  const head = ['case', 'unit', 'better', 'ours', 'reference', 'ratio', 'runs', 'against'];
  const rows = report.results.map((line) =>
    [line.case, line.unit, line.better, line.ours, line.reference, line.ratio, line.runs, line.referenceName].map(
      String,
    ),
  );
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const print = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [print(head), print(widths.map((width) => '-'.repeat(width))), ...rows.map(print)].join('\n');
}

/** A metric as a contract: what it is called, what it means and by what it is told apart. */
export interface Metric {
  /** With its unit at the end, as Prometheus names metrics (prometheus.io/docs/practices/naming). */
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** Names, ids, states. Never an e-mail, an address or an agency's name: whoever scrapes is not signed in. */
  readonly labels: readonly string[];
  /** Upper bounds of a histogram, rising, without +Inf. */
  readonly buckets: readonly number[];
}

export type Labels = Readonly<Record<string, string>>;

/** A value read when somebody scrapes. */
export type Sample =
  | { readonly metric: Metric; readonly labels: Labels; readonly value: number }
  | {
      readonly metric: Metric;
      readonly labels: Labels;
      /** How many were at or below each bucket's bound, in the order of the buckets; `count` of all. */
      readonly distribution: { readonly atOrBelow: readonly number[]; readonly sum: number; readonly count: number };
    };

const known = new Map<string, Metric>();

/** Prometheus sets these itself, and would rename ours. */
const TAKEN = ['job', 'instance', 'le'];

function define(metric: Metric): Metric {
  if (!/^mainstay_[a-z0-9_]+$/.test(metric.name)) throw new Error(`${metric.name} is no metric's name`);
  if (known.has(metric.name)) throw new Error(`two metrics are called ${metric.name}`);
  if (metric.labels.some((label) => TAKEN.includes(label)))
    throw new Error(`a label of ${metric.name} is Prometheus’s own`);
  known.set(metric.name, Object.freeze(metric));
  return metric;
}

export const defineCounter = (name: string, help: string, labels: readonly string[] = []): Metric =>
  define({ name, help, kind: 'counter', labels, buckets: [] });

export const defineGauge = (name: string, help: string, labels: readonly string[] = []): Metric =>
  define({ name, help, kind: 'gauge', labels, buckets: [] });

export const defineHistogram = (
  name: string,
  help: string,
  labels: readonly string[],
  buckets: readonly number[],
): Metric => define({ name, help, kind: 'histogram', labels, buckets });

/** All metrics of the modules that are loaded: for checks of dashboards and alerts. */
export const definedMetrics = (): readonly Metric[] => [...known.values()];

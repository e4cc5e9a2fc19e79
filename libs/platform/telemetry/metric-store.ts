import type { Labels, Metric, Sample } from './metric.js';

/** Where values go while somebody may scrape; see `prometheus.ts`, which is loaded only then. */
export interface MetricStore {
  /** Makes it known before its first value; `counting`: by this process, `reading`: at each scrape. */
  declare(metric: Metric, by: 'counting' | 'reading'): void;
  increment(metric: Metric, labels: Labels, by: number): void;
  observe(metric: Metric, labels: Labels, value: number): void;
  /** The text of a scrape with these values beside those that were counted. */
  text(samples: readonly Sample[]): Promise<string>;
  readonly contentType: string;
}

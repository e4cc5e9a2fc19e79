import { errorText } from '#libs/platform/errors';
import type { Logger } from './logger.js';
import { defineCounter, type Labels, type Metric, type Sample } from './metric.js';
import type { MetricStore } from './metric-store.js';

export const collectorFailures = defineCounter(
  'mainstay_collector_failures_total',
  'Scrapes in which a collector failed or did not answer in time; its metrics are missing from them.',
  ['collector'],
);

/** Reads values when somebody scrapes: by queries that are cheap however much there is, and bounded. */
export interface Collector {
  /** For example `orders`. */
  readonly name: string;
  readonly metrics: readonly Metric[];
  collect(): Promise<readonly Sample[]>;
}

/** No scrape waits longer for one collector. */
const PATIENCE_MS = 3_000;

/**
 * One process's metrics. While nobody may scrape (no port is set) counting is a call that does nothing, and nothing of
 * Prometheus's library is loaded.
 */
export class Metrics {
  private readonly collectors: Collector[] = [];
  private readonly counted: Metric[] = [collectorFailures];
  private readonly running = new Map<Collector, Promise<readonly Sample[]>>();
  private store: MetricStore | undefined;

  constructor(private readonly log: Logger) {}

  /** Loads what is needed for {@link scrape}; safe to repeat. */
  async open(): Promise<void> {
    if (this.store) return;
    const { prometheusStore } = await import('./prometheus.js');
    this.store = prometheusStore();
    for (const metric of this.counted) this.store.declare(metric, 'counting');
    for (const collector of this.collectors) this.declare(collector);
  }

  /** Names what this process counts, so that it is there with its meaning before the first event. */
  counts(...metrics: readonly Metric[]): void {
    this.counted.push(...metrics);
    for (const metric of metrics) this.store?.declare(metric, 'counting');
  }

  register(collector: Collector): void {
    this.collectors.push(collector);
    if (this.store) this.declare(collector);
  }

  increment(metric: Metric, labels: Labels = {}, by = 1): void {
    this.store?.increment(metric, labels, by);
  }

  /** @param value in the unit that the metric's name says */
  observe(metric: Metric, labels: Labels, value: number): void {
    this.store?.observe(metric, labels, value);
  }

  /**
   * What Prometheus reads. A collector that fails does not fail the scrape: its values are missing, and
   * `mainstay_collector_failures_total` says so.
   */
  async scrape(): Promise<{ readonly text: string; readonly contentType: string }> {
    await this.open();
    const store = this.store;
    if (!store) throw new Error('metrics are not open');
    const samples = await Promise.all(this.collectors.map((collector) => this.collect(collector)));
    return { text: await store.text(samples.flat()), contentType: store.contentType };
  }

  private declare({ name, metrics }: Collector): void {
    for (const metric of metrics) this.store?.declare(metric, 'reading');
    // At 0 from the beginning, so that the first failure is an increase.
    this.increment(collectorFailures, { collector: name }, 0);
  }

  private async collect(collector: Collector): Promise<readonly Sample[]> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error(`no answer within ${PATIENCE_MS / 1_000} s`)), PATIENCE_MS);
    try {
      return await Promise.race([this.once(collector), late.promise]);
    } catch (error) {
      this.increment(collectorFailures, { collector: collector.name });
      this.log.warn({ collector: collector.name, reason: errorText(error) }, 'metrics could not be collected');
      return [];
    } finally {
      clearTimeout(timer);
    }
  }

  /** One look at a time: scrapes of a database that hangs must not pile up before it. */
  private once(collector: Collector): Promise<readonly Sample[]> {
    const running = this.running.get(collector);
    if (running) return running;
    const look = collector.collect().finally(() => this.running.delete(collector));
    this.running.set(collector, look);
    return look;
  }
}

import { collectDefaultMetrics, Counter, Histogram, type Metric as PrometheusMetric, Registry } from 'prom-client';
import type { Metric, Sample } from './metric.js';
import type { MetricStore } from './metric-store.js';

interface ExposedValue {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** A metric whose values are handed over at each scrape: the registry only writes them down. */
class ReadMetric {
  values: readonly ExposedValue[] = [];

  constructor(readonly metric: Metric) {}

  get name(): string {
    return this.metric.name;
  }

  get(): Promise<unknown> {
    const { name, help, kind } = this.metric;
    return Promise.resolve({ name, help, type: kind, values: this.values, aggregator: 'omit' });
  }

  reset(): void {
    this.values = [];
  }
}

function exposed(sample: Sample): ExposedValue[] {
  const { metric, labels } = sample;
  if ('value' in sample) return [{ metricName: metric.name, labels, value: sample.value }];
  const { atOrBelow, sum, count } = sample.distribution;
  return [
    ...metric.buckets.map((le, index) => ({
      metricName: `${metric.name}_bucket`,
      labels: { ...labels, le },
      value: atOrBelow[index] ?? 0,
    })),
    { metricName: `${metric.name}_bucket`, labels: { ...labels, le: '+Inf' }, value: count },
    { metricName: `${metric.name}_sum`, labels, value: sum },
    { metricName: `${metric.name}_count`, labels, value: count },
  ];
}

/** Metrics in Prometheus's text format, with those of the process and of Node beside ours. */
export function prometheusStore(): MetricStore {
  const registry = new Registry();
  const counters = new Map<Metric, Counter>();
  const histograms = new Map<Metric, Histogram>();
  const read = new Map<Metric, ReadMetric>();
  collectDefaultMetrics({ register: registry });
  const options = ({ name, help, labels }: Metric) => ({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
  });
  const counter = (metric: Metric): Counter => {
    const found = counters.get(metric) ?? new Counter(options(metric));
    counters.set(metric, found);
    return found;
  };
  const histogram = (metric: Metric): Histogram => {
    const found = histograms.get(metric) ?? new Histogram({ ...options(metric), buckets: [...metric.buckets] });
    histograms.set(metric, found);
    return found;
  };
  const readMetric = (metric: Metric): ReadMetric => {
    const found = read.get(metric) ?? new ReadMetric(metric);
    if (!read.has(metric)) registry.registerMetric(found as unknown as PrometheusMetric);
    read.set(metric, found);
    return found;
  };
  return {
    contentType: registry.contentType,
    declare: (metric, by) => {
      if (by === 'reading') readMetric(metric);
      else if (metric.kind === 'counter') counter(metric);
      else histogram(metric);
    },
    increment: (metric, labels, by) => counter(metric).inc({ ...labels }, by),
    observe: (metric, labels, value) => histogram(metric).observe({ ...labels }, value),
    text: async (samples) => {
      const byMetric = Map.groupBy(samples, ({ metric }) => metric);
      // The registry takes the values up before its first wait, so that two scrapes at once do not mix.
      for (const [metric, each] of read) each.values = (byMetric.get(metric) ?? []).flatMap(exposed);
      return registry.metrics();
    },
  };
}

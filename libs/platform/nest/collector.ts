import type { Abstract, FactoryProvider, Type } from '@nestjs/common';
import { type Collector, type Metric, Metrics, type Sample } from '#libs/platform/telemetry';

export interface CollectorOptions<From extends readonly unknown[]> {
  /** For example `orders`. */
  readonly name: string;
  readonly metrics: readonly Metric[];
  /** What `collect` is given: providers of the module, by their classes. */
  readonly from: { readonly [At in keyof From]: Type<From[At]> | Abstract<From[At]> };
  /** Reads all of `metrics` at each scrape. */
  readonly collect: (...from: From) => Promise<readonly Sample[]>;
}

/** A provider that has figures read at each scrape of the process of its module. */
export function provideCollector<const From extends readonly unknown[]>({
  name,
  metrics,
  from,
  collect,
}: CollectorOptions<From>): FactoryProvider<Collector> {
  return {
    provide: Symbol(`collector of ${name}`),
    inject: [Metrics, ...from],
    useFactory: (registry: Metrics, ...given: unknown[]) => {
      const collector: Collector = { name, metrics, collect: () => collect(...(given as unknown as From)) };
      registry.register(collector);
      return collector;
    },
  };
}

import type { DataSource } from 'typeorm';
import { type Collector, defineGauge, type Metrics, type ProcessHealth, type Sample } from '#libs/platform/telemetry';

export const poolConnections = defineGauge(
  'mainstay_db_pool_connections',
  'Connections of a pool to PostgreSQL, by what they do.',
  ['pool', 'state'],
);
export const poolLimit = defineGauge('mainstay_db_pool_limit', 'Connections that a pool opens at most.', ['pool']);
export const poolWaiting = defineGauge(
  'mainstay_db_pool_waiting',
  'Transactions that wait for a connection of a pool.',
  ['pool'],
);

/** The part of pg's pool that says how full it is. */
interface PgPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly options: { readonly max?: number };
}

/** How full the pools are, from memory: it asks no database. */
class PoolCollector implements Collector {
  readonly name = 'database-pools';
  readonly metrics = [poolConnections, poolLimit, poolWaiting];

  constructor(private readonly sources: Readonly<Record<string, DataSource>>) {}

  collect(): Promise<Sample[]> {
    const samples = Object.entries(this.sources).flatMap(([pool, source]): Sample[] => {
      const { totalCount, idleCount, waitingCount, options } = (source.driver as unknown as { master: PgPool }).master;
      return [
        { metric: poolConnections, labels: { pool, state: 'in-use' }, value: totalCount - idleCount },
        { metric: poolConnections, labels: { pool, state: 'idle' }, value: idleCount },
        { metric: poolLimit, labels: { pool }, value: options.max ?? 0 },
        { metric: poolWaiting, labels: { pool }, value: waitingCount },
      ];
    });
    return Promise.resolve(samples);
  }
}

/** Lets the process's pools be seen, and makes its readiness depend on their database. */
export function observePools(
  sources: Readonly<Record<string, DataSource>>,
  metrics: Metrics,
  health: ProcessHealth,
): void {
  metrics.register(new PoolCollector(sources));
  for (const [pool, source] of Object.entries(sources)) {
    health.needs(`database ${pool}`, () => source.query('SELECT 1'));
  }
}

import { type DynamicModule, Global, Module } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { type DataSource, type DataSourceOptions, getMetadataArgsStorage } from 'typeorm';
import { AppLogger } from '#libs/platform/nest';
import { Metrics, ProcessHealth } from '#libs/platform/telemetry';
import { observePools } from './database.metrics.js';
import { SiteUnitOfWork, UnitOfWork } from './unit-of-work.js';

export interface PoolOptions {
  readonly url: string;
  /** Connections at most. */
  readonly max?: number;
  readonly applicationName: string;
}

function options(name: string, pool: PoolOptions): DataSourceOptions & { name: string } {
  return {
    name,
    type: 'postgres',
    url: pool.url,
    applicationName: pool.applicationName,
    poolSize: pool.max ?? 10,
    // Every entity class that the process has loaded: a library's entities stay private to it.
    entities: getMetadataArgsStorage().tables.map((table) => table.target as () => unknown),
    synchronize: false,
    extra: {
      pipeline: true,
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
      idle_in_transaction_session_timeout: 60_000,
    },
  } as DataSourceOptions & { name: string };
}

const pool = (name: string, settings: PoolOptions): DynamicModule =>
  TypeOrmModule.forRootAsync({
    name,
    useFactory: () => ({ ...options(name, settings), retryAttempts: 20, retryDelay: 500, verboseRetryLog: false }),
  });

/** Connections for looking up who calls: each look-up is one SELECT. */
const CALLERS_POOL = 4;

/** The only place that makes connection pools with TypeORM. */
@Global()
@Module({})
export class DatabaseModule {
  /**
   * Two roles: row-level security tells them apart, not a setting (facts: tenant isolation). Three pools: who calls is
   * looked up on connections of their own, opened when first needed.
   */
  static forControl(settings: { readonly tenant: PoolOptions; readonly provider: PoolOptions }): DynamicModule {
    const callers = { ...settings.provider, max: CALLERS_POOL };
    return {
      module: DatabaseModule,
      imports: [pool('tenant', settings.tenant), pool('provider', settings.provider), pool('callers', callers)],
      providers: [
        {
          provide: UnitOfWork,
          inject: [
            getDataSourceToken('tenant'),
            getDataSourceToken('provider'),
            getDataSourceToken('callers'),
            AppLogger,
            Metrics,
            ProcessHealth,
          ],
          useFactory: (
            tenant: DataSource,
            provider: DataSource,
            callers: DataSource,
            logger: AppLogger,
            metrics: Metrics,
            health: ProcessHealth,
          ) => {
            observePools({ tenant, provider, callers }, metrics, health);
            return new UnitOfWork(tenant, provider, callers, logger.log);
          },
        },
      ],
      exports: [UnitOfWork],
    };
  }

  static forSite(settings: PoolOptions): DynamicModule {
    return {
      module: DatabaseModule,
      imports: [pool('site', settings)],
      providers: [
        {
          provide: SiteUnitOfWork,
          inject: [getDataSourceToken('site'), AppLogger, Metrics, ProcessHealth],
          useFactory: (source: DataSource, logger: AppLogger, metrics: Metrics, health: ProcessHealth) => {
            observePools({ site: source }, metrics, health);
            return new SiteUnitOfWork(source, logger.log);
          },
        },
      ],
      exports: [SiteUnitOfWork],
    };
  }
}

import { type DynamicModule, Module } from '@nestjs/common';
import type { OrderContract, QuestionContract } from '#contracts/sites';
import { DatabaseModule } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { type JobContract, QueueModule } from '#libs/platform/queue';
import { SITES_JOBS, type SiteDriver, SitesModule } from '#libs/sites/site';
import { ENDPOINT_SETTINGS, OrderEndpoint } from './order-endpoint.js';
import type { SiteEnvironment } from './site-environment.js';

/** What the domains bring to a site process: their modules, the orders they carry out and the jobs they run. */
export interface SiteDomains {
  readonly modules: NonNullable<DynamicModule['imports']>;
  readonly orders: readonly OrderContract<never>[];
  readonly jobs: readonly JobContract<never>[];
  /** What they answer at once; nothing when left out. */
  readonly questions?: readonly QuestionContract<never, never>[];
}

/** One warm site's jobs: orders, standbys, failover runs, archives. */
@Module({})
export class SiteProcessModule {
  static forProcess(environment: SiteEnvironment, driver: SiteDriver, domains: SiteDomains): DynamicModule {
    const { settings } = environment;
    return {
      module: SiteProcessModule,
      imports: [
        TelemetryModule.forProcess(`site ${settings.name}`, environment.logLevel, environment.observability),
        ClockModule,
        DatabaseModule.forSite({ url: environment.databaseUrl, applicationName: 'mainstay site' }),
        QueueModule.forProcess({
          url: environment.queueUrl,
          prefix: `site-${settings.siteId}`,
          runs: [...SITES_JOBS, ...domains.jobs],
        }),
        SitesModule.forProcess({
          settings,
          databaseUrl: environment.databaseUrl,
          orderPublicKey: environment.orderPublicKey,
          driver,
          orders: domains.orders,
          questions: domains.questions ?? [],
        }),
        ...domains.modules,
      ],
      providers: [{ provide: ENDPOINT_SETTINGS, useValue: environment.endpoint }, OrderEndpoint],
      exports: [OrderEndpoint],
    };
  }
}

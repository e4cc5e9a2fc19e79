import { type DynamicModule, Module } from '@nestjs/common';
import { ReplicationModule } from '#libs/replication/control';
import { Declarations } from './declaration.service.js';
import { FailoverRecord } from './runs/failover-record.js';
import { Outlooks } from './outlook.service.js';
import { RUN_FEED_URL, RunFeed } from './runs/run-feed.js';
import { RunOrders } from './runs/run-orders.js';
import { RunEnding, RunEventHandler, RunFinishedHandler, RunRefusedHandler } from './runs/run-results.js';
import { Runs } from './runs/run.service.js';

/** Needs SitesModule, OutboxModule and AuditModule, which are global. */
@Module({
  imports: [ReplicationModule],
  providers: [
    Declarations,
    RunOrders,
    FailoverRecord,
    Outlooks,
    Runs,
    RunEnding,
    RunEventHandler,
    RunFinishedHandler,
    RunRefusedHandler,
  ],
  exports: [ReplicationModule, Declarations, Outlooks, Runs],
})
export class FailoverModule {
  /** With live streams of runs, which need a connection of their own to hear of them. */
  static streaming(options: { readonly databaseUrl: string }): DynamicModule {
    return {
      module: FailoverModule,
      providers: [{ provide: RUN_FEED_URL, useValue: options.databaseUrl }, RunFeed],
      exports: [RunFeed],
    };
  }
}

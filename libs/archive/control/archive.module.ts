import { type DynamicModule, Module } from '@nestjs/common';
import { MeteringModule } from '#libs/metering/control';
import { ProtectionModule } from '#libs/protection/control';
import { ArchiveWatch } from './archive-watch.js';
import { archivesCollector } from './archive.metrics.js';
import { ArchiveOrders } from './archives/archive-orders.js';
import { ArchiveRecord } from './archives/archive-record.js';
import { Archives } from './archives/archive.service.js';
import { ArchiveStore } from './archives/archive-store.js';
import { ArchiveRemovals } from './archives/removals.service.js';
import { AssignedArchives } from './assigned-archives.js';
import { Changes } from './changes/change.service.js';
import { Keys } from './keys/key.service.js';
import { Browsing } from './points/browsing.service.js';
import { Drops } from './points/drops.service.js';
import { Holds } from './points/holds.service.js';
import { Points } from './points/point.service.js';
import { Restores } from './restores/restore.service.js';
import { ArchiveStateHandler } from './results/archive-results.js';
import { MassChangeHandler } from './results/change-results.js';
import { DropHandler } from './results/drop-results.js';
import { PointHandler } from './results/point-results.js';
import { ArchiveOrderRefusedHandler } from './results/refused-orders.js';
import { ReportingArchives } from './results/reporting-archives.js';
import { RestoreHandler } from './results/restore-results.js';
import { RunHandler } from './results/run-results.js';
import { KeyUseHandler, UsageHandler } from './results/usage-results.js';
import { Runs } from './runs/run.service.js';
import { WORK_FEED_URL, WorkFeed } from './runs/work-feed.js';

/** Needs SitesModule, OutboxModule and AuditModule, which are global. */
@Module({
  imports: [ProtectionModule, MeteringModule],
  providers: [
    ArchiveStore,
    ArchiveOrders,
    ArchiveRecord,
    Archives,
    ArchiveRemovals,
    AssignedArchives,
    Runs,
    Points,
    Holds,
    Drops,
    Browsing,
    Changes,
    Restores,
    Keys,
    ReportingArchives,
    ArchiveStateHandler,
    RunHandler,
    PointHandler,
    RestoreHandler,
    MassChangeHandler,
    DropHandler,
    UsageHandler,
    KeyUseHandler,
    ArchiveOrderRefusedHandler,
  ],
  exports: [Archives, ArchiveRemovals, AssignedArchives, Runs, Points, Holds, Drops, Browsing, Changes, Restores, Keys],
})
export class ArchiveModule {
  /** With live streams of runs and restores, which need a connection of their own to hear of them. */
  static streaming(options: { readonly databaseUrl: string }): DynamicModule {
    return {
      module: ArchiveModule,
      providers: [{ provide: WORK_FEED_URL, useValue: options.databaseUrl }, WorkFeed],
      exports: [WorkFeed],
    };
  }

  /** For the worker: with the look at what is late, silent or behind. */
  static watching(): DynamicModule {
    return { module: ArchiveModule, providers: [ArchiveWatch, archivesCollector] };
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { SITE_DRIVER, type SiteDriver, type StandbyPosition } from '#libs/sites/site';
import { ArmedLeases } from '../link/index.js';
import { isFresh, regionalLeads, type SourceReport, SourceReports } from '../source-reports.js';
import type { Standby, StandbyChanges } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { isStreaming } from './catch-up.stage.js';
import { StreamCare } from './stream-care.js';
import { MOVED, type Outcome, REST, slotOf, type Stage } from './stage.js';

/** What the stage needs of the process around it. */
@Injectable()
export class StreamSurroundings {
  constructor(
    readonly clock: Clock,
    readonly logger: AppLogger,
  ) {}
}

/** Whether what was reached still holds, and the care that keeps it so. */
@Injectable()
export class StreamStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly reports: SourceReports,
    private readonly leases: ArmedLeases,
    private readonly care: StreamCare,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly surroundings: StreamSurroundings,
  ) {}

  async advance(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    const { report, lease } = await this.work.run(async (tx) => ({
      report: await this.reports.of(tx, standby.workloadId),
      lease: await this.leases.state(tx, standby.workloadId),
    }));
    if (standby.follow === 'agency' && slotLost(standby, report)) {
      return this.to(standby, 'preparing', "slot-lost: the agency's server no longer keeps the log for this site", {
        freshSlot: true,
      });
    }
    let position: StandbyPosition;
    try {
      position = await this.driver.position(standby.workloadId);
    } catch (error) {
      this.surroundings.logger.log.warn(
        { workloadId: standby.workloadId, reason: errorText(error) },
        'the standby does not answer',
      );
      return this.to(standby, 'broken', 'server-down: the standby does not answer; it is started again', {});
    }
    // The agency's server is being restarted, as announced: its stream comes back by itself.
    if (standby.rebootUntil !== null && standby.rebootUntil > this.surroundings.clock.now() && !isStreaming(position))
      return REST;
    if (position.replayPaused) return this.to(standby, 'broken', pausedReason(position), {});
    if (standby.followWanted || !isStreaming(position)) {
      return this.to(standby, 'catching-up', 'stream-ended: the stream from the source has ended', {});
    }
    const armMissing =
      isFresh(report) &&
      report.report.reachable &&
      !report.report.armed &&
      !report.report.degraded &&
      !regionalLeads(report) &&
      !lease.refused;
    await this.care.keep(standby, report, position, armMissing && lease.disarmedAtLsn === null, signal);
    return REST;
  }

  private async to(
    standby: Standby,
    state: 'preparing' | 'broken' | 'catching-up',
    reason: string,
    changes: StandbyChanges,
  ): Promise<Outcome> {
    await this.work.run((tx) => this.standbys.change(tx, standby, { state, reason, changes }));
    return MOVED;
  }
}

function slotLost(standby: Standby, report: SourceReport | undefined): boolean {
  if (!isFresh(report)) return false;
  return report.report.slots.find((slot) => slot.name === slotOf(standby))?.walStatus === 'lost';
}

const pausedReason = (position: StandbyPosition): string =>
  position.parametersInsufficient
    ? "parameters-low: the agency's server raised a limit above this standby's; it is raised here"
    : 'replay-paused: replay was paused by hand at the site; it is resumed';

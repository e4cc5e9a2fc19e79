import { Inject, Injectable } from '@nestjs/common';
import type { PromotionOutlook } from '#contracts/failover';
import { SiteUnitOfWork } from '#libs/platform/database';
import { lsnDifference, maxLsn } from '#libs/platform/postgres';
import {
  ArmedLeases,
  contraryToOther,
  isFresh,
  mayBePromoted,
  type Standby,
  SourceReports,
  Standbys,
} from '#libs/replication/site';
import { type OutlookSource, SITE_DRIVER, type SiteDriver, type StandbyPosition } from '#libs/sites/site';
import { decideLoss } from './loss.js';
import { Runs } from './runs/runs.service.js';

type Obstacle = PromotionOutlook['obstacles'][number];

/** The dry answer before a declaration: what a promotion here would lose now, and what stands in its way. */
@Injectable()
export class PromotionOutlooks implements OutlookSource {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly runs: Runs,
    private readonly leases: ArmedLeases,
    private readonly reports: SourceReports,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  /** @throws NotFoundError when this site has no such workload */
  async outlook(workloadId: string, known: { readonly noDegradeGranted: boolean }): Promise<PromotionOutlook> {
    const { standby, lease, report, run, armedSecondsAgo } = await this.work.run(async (tx) => ({
      standby: await this.standbys.get(tx, workloadId),
      lease: await this.leases.state(tx, workloadId),
      report: await this.reports.of(tx, workloadId),
      run: await this.runs.openOf(tx, workloadId),
      armedSecondsAgo: await this.leases.secondsSinceArmed(tx, workloadId),
    }));
    // A server that does not answer has no position; that is an obstacle of its own.
    const position = await this.driver.position(workloadId).catch(() => undefined);
    const ownLsn = maxLsn(position?.flushedLsn, position?.receivedLsn, position?.replayedLsn) ?? null;
    const { loss } = decideLoss({ ...standby, lease, ...known, report, ownLsn });
    const sourceLsn = isFresh(report) ? report.report.lsn : null;
    const obstacles = obstaclesOf(standby, position, run !== undefined);
    return {
      workloadId,
      canPromote: obstacles.length === 0,
      loss,
      bytesBehind: sourceLsn !== null && ownLsn !== null ? Math.max(0, Number(lsnDifference(sourceLsn, ownLsn))) : null,
      armed: standby.role === 'metro' || lease.everArmed ? lease.armed : null,
      armedSecondsAgo,
      contrary: contraryToOther(standby.role, report),
      obstacles,
    };
  }
}

function obstaclesOf(standby: Standby, position: StandbyPosition | undefined, runs: boolean): Obstacle[] {
  const obstacles: Obstacle[] = [];
  const add = (code: string, what: string, remedy: string) => obstacles.push({ code, what, remedy });
  if (standby.state === 'primary') {
    add('already-primary', 'The workload runs at this site already.', 'There is nothing to fail over.');
    return obstacles;
  }
  if (runs) add('run-open', 'A failover is under way.', 'Let it finish, or cancel it.');
  if (!mayBePromoted(standby.state) || standby.removing) {
    add('no-whole-copy', `The standby is ${standby.state}.`, 'Choose the other site, or wait until it streams.');
    return obstacles;
  }
  if (!position) {
    add('server-down', 'The standby does not answer.', 'The site starts it again; ask in a minute.');
  }
  if (position?.parametersInsufficient) {
    add('parameters-low', "The agency's limits are above the standby's.", 'The site raises them; ask in a minute.');
  }
  return obstacles;
}

import { Inject, Injectable } from '@nestjs/common';
import { Clock, waitFor, WaitTimeoutError } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { lsnDifference } from '#libs/platform/postgres';
import { SITE_DRIVER, type SiteDriver, type StandbyPosition } from '#libs/sites/site';
import { isFresh, type SourceReport, SourceReports } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { NotStreamingError } from '../replication.errors.js';
import { Arming } from './arming.js';
import { Following } from './following.js';
import { again, MOVED, type Outcome, type Stage } from './stage.js';

/** Near enough for production to begin to wait for this standby. */
const NEAR_BYTES = 4n * 1024n * 1024n;
/** A walreceiver that lost its line tries again by itself, twice a second (wal_retrieve_retry_interval). */
const OWN_RETRY_MS = 5_000;
const STREAM_MS = 15_000;
const FORK_RETRIES = 3;
const SLOT_LOST = "slot-lost: the agency's server no longer keeps the log for this site";

export const isStreaming = (position: StandbyPosition): boolean => position.receiverStatus === 'streaming';

/** The server runs, streams, and comes near enough to the source. */
@Injectable()
export class CatchUpStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly reports: SourceReports,
    private readonly following: Following,
    private readonly arming: Arming,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly clock: Clock,
  ) {}

  async advance(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    const { workloadId } = standby;
    const phase = await this.driver.phase(workloadId);
    if (phase !== 'running' && phase !== 'stopped') return this.back(standby, 'copy-lost: the copy is not whole');
    const report = await this.work.run((tx) => this.reports.of(tx, workloadId));
    // A fresh copy becomes consistent only with what it is streamed, so it must know from whom before it starts.
    if (!standby.followWanted) await this.driver.ensureRunning(workloadId);
    let seen = standby;
    if (standby.followWanted || !isStreaming(await this.driver.position(workloadId))) {
      const wait = this.waits(standby, report);
      if (wait) return wait;
      const following = await this.following.agency(standby, signal);
      if (!following) return this.back(standby, SLOT_LOST);
      seen = following;
      await this.driver.ensureRunning(workloadId);
      if (!(await this.streams(workloadId, signal))) return this.diagnose(seen);
    }
    const position = await this.driver.position(workloadId);
    if (!this.isNear(seen, position, report)) return again(500);
    const arms = seen.role === 'metro' && seen.follow === 'agency';
    const armWanted = arms && !(await this.arming.arm(seen, signal));
    await this.work.run((tx) =>
      this.standbys.change(tx, seen, {
        state: 'streaming',
        reason: null,
        changes: { retries: 0, retryAt: null, armWanted, seeding: null, seedingSince: null },
      }),
    );
    return MOVED;
  }

  /**
   * A standby that once streamed is left to its own retry for a while: a new password would cut the connection that it is
   * making. Who follows the other site is told by it.
   */
  private waits(standby: Standby, report: SourceReport | undefined): Outcome | undefined {
    if (standby.follow === 'peer') return again(5_000);
    if (standby.followWanted) return undefined;
    if (!isFresh(report)) return again(2_000);
    const since = this.clock.now().getTime() - standby.stateSince.getTime();
    return since < OWN_RETRY_MS ? again(1_000) : undefined;
  }

  private async streams(workloadId: string, signal: AbortSignal): Promise<boolean> {
    try {
      await waitFor('the standby to stream', async () => isStreaming(await this.driver.position(workloadId)), {
        timeoutMs: STREAM_MS,
        everyMs: 50,
        signal,
      });
      return true;
    } catch (error) {
      if (error instanceof WaitTimeoutError) return false;
      throw error;
    }
  }

  /** It has what the source has not: the source went back, or another timeline began before this standby's end. */
  private async diagnose(standby: Standby): Promise<Outcome> {
    const position = await this.driver.position(standby.workloadId);
    const report = await this.work.run((tx) => this.reports.of(tx, standby.workloadId));
    const has = position.flushedLsn ?? position.replayedLsn;
    const ahead = isFresh(report) && report.lsn !== null && has !== null && lsnDifference(has, report.lsn) > 0n;
    const older = isFresh(report) && report.report.timeline !== null && position.timeline > report.report.timeline;
    // A newer timeline that began after this standby's end is followed at once; one that did not never will be.
    const newer = isFresh(report) && report.report.timeline !== null && position.timeline < report.report.timeline;
    if (ahead || older || (newer && standby.retries >= FORK_RETRIES))
      return this.back(standby, "diverged: the agency's server went on from an earlier point");
    const { slotRestartLsn: kept } = standby;
    if (kept !== null && has !== null && lsnDifference(kept, has) > 0n) return this.back(standby, SLOT_LOST);
    throw new NotStreamingError(`at ${has ?? 'unknown'} on timeline ${position.timeline}`);
  }

  private isNear(standby: Standby, position: StandbyPosition, report: SourceReport | undefined): boolean {
    if (standby.follow === 'peer') return true;
    if (!isFresh(report) || report.lsn === null) return false;
    return position.receivedLsn !== null && lsnDifference(report.lsn, position.receivedLsn) <= NEAR_BYTES;
  }

  private async back(standby: Standby, reason: string): Promise<Outcome> {
    await this.work.run((tx) =>
      this.standbys.change(tx, standby, { state: 'preparing', reason, changes: { freshSlot: true } }),
    );
    return MOVED;
  }
}

import { Injectable } from '@nestjs/common';
import { runFinishedResult, type StandAside } from '#contracts/failover';
import type { SiteTransaction } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { SiteOutbox } from '#libs/sites/site';
import { RunConflictError } from '../failover.errors.js';
import { advanceRunJob } from '../failover.jobs.js';
import { RunEngine } from './run-engine.js';
import { reportOf } from './run-report.js';
import type { FailoverRun } from './run.row.js';
import { isClosed } from './run.states.js';
import { Runs } from './runs.service.js';

/** What became of this site's own run. */
export interface Yielded {
  /** The run has the standby still: nothing else may be done to it. */
  readonly stays: boolean;
  /** The run that is being cancelled, to be undone with {@link RunYielding.undo}. */
  readonly cancelled: string | null;
}

const FREE: Yielded = { stays: false, cancelled: null };
const STAYS: Yielded = { stays: true, cancelled: null };

/**
 * An own run gives way to a newer declaration at the other site, as long as it has not begun to promote; after that, to a
 * newer promotion only. To be called before the standby's row is locked, as promotions do.
 */
@Injectable()
export class RunYielding {
  constructor(
    private readonly runs: Runs,
    private readonly engine: RunEngine,
    private readonly queue: JobQueue,
    private readonly outbox: SiteOutbox,
  ) {}

  /**
   * At the other site's request.
   *
   * @returns the run that is being cancelled, to be undone with {@link undo}; null when there was none
   * @throws RunConflictError when the own run is the newer one, or cannot be undone any more
   */
  async yieldTo(tx: SiteTransaction, workloadId: string, epoch: number): Promise<string | null> {
    const run = await this.lockOpen(tx, workloadId);
    if (!run) return null;
    if (run.promoteBeganAt !== null || run.epoch >= epoch) throw new RunConflictError(run.id);
    return this.cancel(tx, run);
  }

  /** At the control plane's word, which is kept whatever this site is at. */
  async standAside(tx: SiteTransaction, { workloadId, epoch, word }: StandAside): Promise<Yielded> {
    const run = await this.lockOpen(tx, workloadId);
    if (!run) return FREE;
    if (word === 'resume' || run.epoch >= epoch) return STAYS;
    if (run.promoteBeganAt === null) return { stays: false, cancelled: await this.cancel(tx, run) };
    if (word !== 'promoted') return STAYS;
    await this.supersede(tx, run);
    return FREE;
  }

  undo(runId: string | null): void {
    if (runId !== null) this.queue.wake(advanceRunJob, { runId });
  }

  private async lockOpen(tx: SiteTransaction, workloadId: string): Promise<FailoverRun | undefined> {
    const open = await this.runs.openOf(tx, workloadId);
    const run = open && (await this.runs.lock(tx, open.id));
    return run && !isClosed(run.state) ? run : undefined;
  }

  private async cancel(tx: SiteTransaction, run: FailoverRun): Promise<string> {
    if (run.state !== 'cancelling') {
      await this.runs.turn(tx, run, 'cancelling', {
        message: 'The other site takes over by a newer declaration; this failover is cancelled.',
      });
    }
    tx.afterCommit(() => this.engine.interrupt(run.id));
    return run.id;
  }

  /** It has promoted, or is about to, under an epoch that is over: it ends as it is, and its server is not to serve. */
  private async supersede(tx: SiteTransaction, run: FailoverRun): Promise<void> {
    const message = 'The other site was promoted by a newer declaration while this failover went on; it ends here.';
    await this.runs.turn(tx, run, 'failed', { message });
    await this.outbox.emit(
      tx,
      runFinishedResult,
      { tenantId: run.tenantId, orderId: run.orderId },
      { state: 'failed', report: reportOf(run), reason: message },
    );
    tx.afterCommit(() => this.engine.interrupt(run.id));
  }
}

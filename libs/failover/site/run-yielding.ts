import { Injectable } from '@nestjs/common';
import type { SiteTransaction } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { RunConflictError } from './failover.errors.js';
import { advanceRunJob } from './failover.jobs.js';
import { RunEngine } from './run-engine.js';
import { Runs } from './runs.service.js';

/** An own run gives way to a newer declaration at the other site, as long as it has not begun to promote. */
@Injectable()
export class RunYielding {
  constructor(
    private readonly runs: Runs,
    private readonly engine: RunEngine,
    private readonly queue: JobQueue,
  ) {}

  /**
   * To be called before the standby's row is locked, as promotions do.
   *
   * @returns the run that is being cancelled, to be undone with {@link undo}; null when there was none
   * @throws RunConflictError when the own run is the newer one, or cannot be undone any more
   */
  async yieldTo(tx: SiteTransaction, workloadId: string, epoch: number): Promise<string | null> {
    const open = await this.runs.openOf(tx, workloadId);
    if (!open) return null;
    const run = await this.runs.lock(tx, open.id);
    if (run.promoteBeganAt !== null || run.epoch >= epoch) throw new RunConflictError(run.id);
    if (run.state !== 'cancelling') {
      await this.runs.turn(tx, run, 'cancelling', {
        message: 'The other site takes over by a newer declaration; this failover is cancelled.',
      });
    }
    tx.afterCommit(() => this.engine.interrupt(run.id));
    return run.id;
  }

  undo(runId: string | null): void {
    if (runId !== null) this.queue.wake(advanceRunJob, { runId });
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { PeerBackups, Standbys } from '#libs/replication/site';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { RunInterruptedError } from '../failover.errors.js';
import { isWorse } from '../loss.js';
import { Runs } from '../runs/runs.service.js';
import { question } from './refuse-leases.step.js';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

/**
 * Makes the standby the primary. The epoch is durable before the server is promoted: a crash in between leaves a site that
 * knows that it must go on, and a returning agent that is told to stop.
 */
@Injectable()
export class PromoteStep implements RunStepHandler {
  readonly step = 'promote';

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly standbys: Standbys,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly backups: PeerBackups,
  ) {}

  async run({ run, standby }: StepContext): Promise<StepOutcome> {
    const late = await this.begin(run.id);
    if (late) return late;
    await this.backups.close(standby.workloadId);
    const { forkLsn, timeline } = await this.driver.promote(standby.workloadId);
    return {
      kind: 'done',
      message: `This site is the primary from ${forkLsn} on, as epoch ${run.epoch} on timeline ${timeline}.`,
      evidence: { promotedAtLsn: forkLsn, timeline, epoch: run.epoch },
      findings: { promotedAtLsn: forkLsn, promotedTimeline: timeline },
      write: async (tx) => {
        const now = await this.standbys.lock(tx, standby.workloadId);
        await this.standbys.change(tx, now, {
          state: 'primary',
          reason: null,
          changes: { promotedAtLsn: forkLsn, promotedTimeline: timeline, hold: null, holdUntil: null },
        });
      },
    };
  }

  /** The point of no return, under the run's lock: whoever cancels comes before it or not at all. */
  private begin(runId: string): Promise<StepOutcome | undefined> {
    return this.work.run(async (tx) => {
      const run = await this.runs.lock(tx, runId);
      if (run.state !== 'running') throw new RunInterruptedError();
      if (run.promoteBeganAt !== null) return undefined;
      // The lease that proved that nothing is lost may have ended while the run stood still.
      const [claim] = await tx.query<{ over: boolean }>(
        'SELECT loss_until IS NOT NULL AND loss_until <= clock_timestamp() AS over FROM failover_run WHERE id = $1',
        [runId],
      );
      const why = 'the armed lease ended before this site could promote, and production may have gone on alone';
      const loss = claim?.over ? ({ kind: 'unknown', bytes: null, why } as const) : run.loss;
      if (loss && isWorse(loss, run.acceptedLoss)) return { kind: 'confirm', loss, message: question(loss.why) };
      if (claim?.over && loss) await this.runs.learn(tx, runId, { loss, lossUntil: null });
      await tx.execute('UPDATE failover_run SET promote_began_at = clock_timestamp() WHERE id = $1', [runId]);
      const standby = await this.standbys.lock(tx, run.workloadId);
      await this.standbys.change(tx, standby, { state: 'promoting', changes: { epoch: run.epoch } });
      return undefined;
    });
  }
}

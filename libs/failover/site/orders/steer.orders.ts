import type { z } from 'zod';
import { cancelFailoverOrder, confirmFailoverOrder } from '#contracts/failover';
import { SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { RunTooLateError } from '../failover.errors.js';
import { advanceRunJob } from '../failover.jobs.js';
import { RunEngine } from '../runs/run-engine.js';
import { isClosed } from '../runs/run.states.js';
import { Runs } from '../runs/runs.service.js';

type Cancel = z.infer<typeof cancelFailoverOrder.payload>;
type Confirm = z.infer<typeof confirmFailoverOrder.payload>;

/** Ends a run while production can still go on at the agency as if nothing had been. */
@CarriesOut(cancelFailoverOrder)
export class CancelFailoverHandler implements OrderHandler<Cancel> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly engine: RunEngine,
    private readonly queue: JobQueue,
  ) {}

  /** @throws RunTooLateError once the agency's server was stopped or the promotion has begun */
  async carryOut({ payload: { runId } }: ReceivedOrder<Cancel>): Promise<void> {
    await this.work.run(async (tx) => {
      const run = await this.runs.lock(tx, runId);
      if (run.state === 'cancelling' || run.state === 'cancelled') return;
      if (isClosed(run.state))
        throw new RunTooLateError('This failover has ended. Fail back when the agency is ready.');
      if (run.promoteBeganAt !== null) {
        throw new RunTooLateError('This site is becoming the primary already. Fail back when the agency is ready.');
      }
      const fencing = (await this.runs.steps(tx, runId)).find(({ step }) => step === 'fence-agency');
      if (fencing && run.fenced !== false) {
        throw new RunTooLateError("The agency's server has been told to stop for this failover. Let it finish.");
      }
      await this.runs.turn(tx, run, 'cancelling', { message: 'The failover is being cancelled.' });
    });
    this.engine.interrupt(runId);
    this.queue.wake(advanceRunJob, { runId });
  }
}

/** A person accepts what may be lost, and says how the old server was stopped. */
@CarriesOut(confirmFailoverOrder)
export class ConfirmFailoverHandler implements OrderHandler<Confirm> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly queue: JobQueue,
  ) {}

  async carryOut({ payload }: ReceivedOrder<Confirm>): Promise<void> {
    const { runId, acceptedLoss, oldServer } = payload;
    await this.work.run(async (tx) => {
      const run = await this.runs.lock(tx, runId);
      if (isClosed(run.state) || run.state === 'cancelling') {
        throw new RunTooLateError('This failover has ended or is being cancelled; there is nothing to confirm.');
      }
      await tx.execute('UPDATE failover_run SET accepted_loss = $2, old_server = $3 WHERE id = $1', [
        runId,
        JSON.stringify(acceptedLoss),
        oldServer,
      ]);
      if (run.state !== 'awaiting-confirmation') return;
      const message = `The loss is accepted (${acceptedLoss.kind}); the old server: ${oldServer}.`;
      await this.runs.turn(tx, run, 'running', { message, evidence: { acceptedLoss, oldServer } });
    });
    this.queue.wake(advanceRunJob, { runId });
  }
}

import { SiteUnitOfWork } from '#libs/platform/database';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { reconcileStandbyJob, sweepStandbysJob } from '../replication.jobs.js';
import { Reconciler } from './reconciler.js';

@Handles(reconcileStandbyJob)
export class ReconcileStandbyHandler implements JobHandler<{ workloadId: string }> {
  constructor(private readonly reconciler: Reconciler) {}

  async handle({ workloadId }: { workloadId: string }, signal: AbortSignal): Promise<void> {
    await this.reconciler.reconcile(workloadId, signal);
  }
}

/** Lets go of holds that have run out, and wakes the reconciler for every standby that is its own. */
@Handles(sweepStandbysJob)
export class SweepStandbysHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly queue: JobQueue,
  ) {}

  async handle(): Promise<void> {
    const due = await this.work.run(async (tx) => {
      await tx.execute(
        `UPDATE standby SET hold = NULL, hold_until = NULL, follow_wanted = true, version = version + 1
          WHERE hold_until < clock_timestamp()`,
      );
      return tx.query<{ workloadId: string }>(
        `SELECT workload_id AS "workloadId" FROM standby
          WHERE hold IS NULL AND (retry_at IS NULL OR retry_at <= clock_timestamp()) AND state <> 'removed'`,
      );
    });
    for (const { workloadId } of due) await this.queue.add(reconcileStandbyJob, { workloadId }, { key: workloadId });
  }
}

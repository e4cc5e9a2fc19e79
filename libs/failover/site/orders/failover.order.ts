import { type FailoverPayload, failoverOrder } from '#contracts/failover';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { currentTraceparent } from '#libs/platform/telemetry';
import { mayBePromoted, Standbys } from '#libs/replication/site';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { NotPromotableError, RunConflictError, StaleEpochError } from '../failover.errors.js';
import { advanceRunJob } from '../failover.jobs.js';
import { Runs } from '../runs/runs.service.js';
import { keptAside } from './stand-aside.row.js';

/**
 * Begins a failover. The run is there as soon as the order has been acknowledged, written in the same transaction, and
 * needs nothing of the control plane from then on.
 */
@CarriesOut(failoverOrder)
export class FailoverOrderHandler implements OrderHandler<FailoverPayload> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly standbys: Standbys,
    private readonly queue: JobQueue,
  ) {}

  /** An order that cannot be is stored all the same; {@link carryOut} says why it fails. */
  async received(tx: SiteTransaction, order: ReceivedOrder<FailoverPayload>): Promise<void> {
    const { payload } = order;
    const standby = await this.standbys.find(tx, payload.workloadId);
    if (!standby || !mayBePromoted(standby.state) || standby.removing || payload.epoch <= standby.epoch) return;
    // The other site has a newer declaration, which this one was told of first.
    const aside = await keptAside(tx, standby);
    if (aside && payload.epoch < aside.epoch) return;
    const begun = await tx.execute(
      `INSERT INTO failover_run (id, workload_id, tenant_id, order_id, declaration, epoch, names, other_site,
                                 no_degrade_granted, regional_granted, accepted_loss, old_server, followed, traceparent,
                                 state)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'accepted') ON CONFLICT DO NOTHING`,
      [
        payload.runId,
        payload.workloadId,
        standby.tenantId,
        order.id,
        payload.declaration,
        payload.epoch,
        JSON.stringify(payload.names),
        payload.otherSite === null ? null : JSON.stringify(payload.otherSite),
        payload.noDegradeGranted,
        payload.regionalGranted ?? false,
        JSON.stringify(payload.acceptedLoss),
        payload.oldServer,
        standby.follow,
        currentTraceparent(),
      ],
    );
    if (begun === 0) return;
    const run = await this.runs.lock(tx, payload.runId);
    await this.runs.note(tx, run, [{ message: 'The site has the order and begins.' }]);
    // From here on the standby is the run's: the reconciler must not bring its stream back.
    await tx.execute(`UPDATE standby SET hold = $2, hold_until = NULL, version = version + 1 WHERE workload_id = $1`, [
      payload.workloadId,
      `failover ${payload.runId}`,
    ]);
    tx.afterCommit(() => this.queue.wake(advanceRunJob, { runId: payload.runId }));
  }

  /** @throws RunConflictError, NotPromotableError, StaleEpochError, NotFoundError */
  async carryOut({ payload }: ReceivedOrder<FailoverPayload>): Promise<void> {
    await this.work.run(async (tx) => {
      if (await this.runs.find(tx, payload.runId)) return;
      const standby = await this.standbys.get(tx, payload.workloadId);
      const other = await this.runs.openOf(tx, payload.workloadId);
      if (other) throw new RunConflictError(other.id);
      if (payload.epoch <= standby.epoch) throw new StaleEpochError(standby.epoch, payload.epoch);
      const aside = await keptAside(tx, standby);
      if (aside && payload.epoch < aside.epoch) throw new StaleEpochError(aside.epoch, payload.epoch);
      throw new NotPromotableError(standby.state);
    });
    this.queue.wake(advanceRunJob, { runId: payload.runId });
  }
}

import {
  type ProtectPayload,
  protectOrder,
  standbyChanged,
  unprotectedResult,
  unprotectOrder,
} from '#contracts/replication';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { CarriesOut, type OrderHandler, type ReceivedOrder, SiteOutbox } from '#libs/sites/site';
import { ArmedLeases, FrontDoors } from '../link/index.js';
import { Seedings } from '../reconciler/seedings.js';
import { reconcileStandbyJob } from '../replication.jobs.js';
import { HeldByRunError, RunsHereError, WorkloadElsewhereError } from '../replication.errors.js';
import { Standbys } from '../standbys.service.js';

/**
 * Writes what is wanted of a standby. Repeated with other values it changes the mode, the bandwidth, the peer or a pause;
 * the reconciler closes the gap.
 */
@CarriesOut(protectOrder)
export class ProtectOrderHandler implements OrderHandler<ProtectPayload> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly outbox: SiteOutbox,
    private readonly seedings: Seedings,
    private readonly doors: FrontDoors,
    private readonly leases: ArmedLeases,
    private readonly queue: JobQueue,
  ) {}

  async carryOut({ tenantId, payload }: ReceivedOrder<ProtectPayload>): Promise<void> {
    const interrupts = await this.work.run(async (tx) => {
      const before = await this.standbys.find(tx, payload.workloadId);
      if (!before) {
        await this.begin(tx, tenantId, payload);
        return false;
      }
      if (before.role !== payload.role || before.agentId !== payload.agentId) {
        throw new WorkloadElsewhereError(`${before.role} of agent ${before.agentId}`);
      }
      await this.alter(tx, payload);
      // Either way: an answer that is being written in this moment goes by the mode that was.
      if (payload.mode !== 'strict' || before.mode !== 'strict') {
        await this.leases.forgetStrictness(tx, payload.workloadId);
      }
      return (
        before.paused !== payload.paused ||
        before.removing ||
        before.bandwidthBytesPerSecond !== payload.bandwidthBytesPerSecond
      );
    });
    await this.doors.ensure(payload.workloadId);
    if (payload.clientNetworks) await this.doors.admit(payload.workloadId, payload.clientNetworks);
    if (interrupts) await this.seedings.interrupt(payload.workloadId);
    this.queue.wake(reconcileStandbyJob, { workloadId: payload.workloadId });
  }

  private async begin(tx: SiteTransaction, tenantId: string | null, payload: ProtectPayload): Promise<void> {
    const { workloadId, role } = payload;
    await tx.execute(
      `INSERT INTO standby (workload_id, tenant_id, agent_id, workload_name, role, mode, state, epoch, names, peer,
                            bandwidth_bytes_per_second, paused, reboot_until)
       VALUES ($1, $2, $3, $4, $5, $6, 'preparing', $7, $8, $9, $10, $11, $12) ON CONFLICT (workload_id) DO NOTHING`,
      [
        workloadId,
        tenantId,
        payload.agentId,
        payload.workloadName,
        role,
        payload.mode,
        payload.epoch,
        ...wanted(payload),
      ],
    );
    await this.outbox.emit(tx, standbyChanged, { tenantId }, { workloadId, role, state: 'preparing', reason: null });
  }

  /** The epoch only rises: an order that was written before a promotion must not take it back. */
  private async alter(tx: SiteTransaction, payload: ProtectPayload): Promise<void> {
    await tx.execute(
      `UPDATE standby SET workload_name = $2, mode = $3, epoch = greatest(epoch, $4), names = $5, peer = $6,
              bandwidth_bytes_per_second = $7, paused = $8, reboot_until = $9, removing = false,
              arm_wanted = arm_wanted OR mode <> $3 OR names <> $5, retry_at = NULL, version = version + 1
        WHERE workload_id = $1`,
      [payload.workloadId, payload.workloadName, payload.mode, payload.epoch, ...wanted(payload)],
    );
  }
}

const wanted = (payload: ProtectPayload): unknown[] => [
  JSON.stringify(payload.names),
  payload.peer === null ? null : JSON.stringify(payload.peer),
  payload.bandwidthBytesPerSecond,
  payload.paused,
  payload.rebootUntil,
];

/** Ends a protection. The row says so until nothing is left at either end. */
@CarriesOut(unprotectOrder)
export class UnprotectOrderHandler implements OrderHandler<{ workloadId: string }> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly outbox: SiteOutbox,
    private readonly seedings: Seedings,
    private readonly queue: JobQueue,
  ) {}

  /** @throws RunsHereError, HeldByRunError: what is production is never removed as a copy */
  async carryOut({ tenantId, payload: { workloadId } }: ReceivedOrder<{ workloadId: string }>): Promise<void> {
    await this.work.run(async (tx) => {
      const standby = await this.standbys.find(tx, workloadId);
      if (standby?.state === 'primary') throw new RunsHereError();
      if (standby && standby.hold !== null && standby.holdUntil === null) throw new HeldByRunError(standby.hold);
      const marked = await tx.execute(
        `UPDATE standby SET removing = true, retry_at = NULL, version = version + 1 WHERE workload_id = $1`,
        [workloadId],
      );
      // Nothing is here: that is what was asked for. The role is not known, and a metro's end is what counts.
      if (marked === 0) await this.outbox.emit(tx, unprotectedResult, { tenantId }, { workloadId, role: 'metro' });
    });
    await this.seedings.interrupt(workloadId);
    this.queue.wake(reconcileStandbyJob, { workloadId });
  }
}

import {
  allowExitOrder,
  cancelArchiveWorkOrder,
  type RestoreWish,
  restoreOrder,
  rotateKeysOrder,
  runArchiveOrder,
} from '#contracts/archive';
import type { z } from 'zod';
import { Clock } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { JobQueue } from '#libs/platform/queue';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { ArchiveStateError } from '../archives.errors.js';
import { advanceRestoreJob, advanceRunJob, handExitJob, reconcileArchiveJob } from '../archives.jobs.js';
import { Archives } from '../archives.service.js';
import { Points } from '../points/points.service.js';
import { Restores } from '../restores/restores.service.js';
import { Runs } from '../runs/runs.service.js';
import { findWork, RESTORES, RUNS } from '../runs/work.row.js';
import { owned } from './owned.js';

type Run = z.infer<typeof runArchiveOrder.payload>;
type Cancel = z.infer<typeof cancelArchiveWorkOrder.payload>;
type Rotate = z.infer<typeof rotateKeysOrder.payload>;
type Exit = z.infer<typeof allowExitOrder.payload>;

/** In one that is being prepared it waits. */
const takesWork = ({ state }: ArchiveRow): boolean => state !== 'ending' && state !== 'ended';

/** A run now. Its row is there as soon as the order has been acknowledged. */
@CarriesOut(runArchiveOrder)
export class RunArchiveHandler implements OrderHandler<Run> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly runs: Runs,
    private readonly clock: Clock,
    private readonly queue: JobQueue,
  ) {}

  async received(tx: SiteTransaction, order: ReceivedOrder<Run>): Promise<void> {
    const archive = await owned(this.archives, tx, order);
    if (!archive || !takesWork(archive)) return;
    const { runId } = order.payload;
    const made = await tx.execute(
      `INSERT INTO archive_run (run_id, archive_id, cause, state, due_at) VALUES ($1, $2, 'request', 'waiting', $3)
       ON CONFLICT DO NOTHING`,
      [runId, archive.archiveId, this.clock.now()],
    );
    const row = made === 1 ? await findWork(tx, RUNS, runId) : undefined;
    if (!row) return;
    await this.runs.tell(tx, archive, row);
    tx.afterCommit(() => this.queue.wake(advanceRunJob, { runId }));
  }

  /** @throws NotFoundError, ArchiveStateError */
  async carryOut(order: ReceivedOrder<Run>): Promise<void> {
    await this.work.run(async (tx) => {
      if (await findWork(tx, RUNS, order.payload.runId)) return;
      const archive = await owned(this.archives, tx, order);
      if (!archive) throw new NotFoundError('archive');
      // It came before its archive was known: it is, by now.
      if (takesWork(archive)) return this.received(tx, order);
      throw new ArchiveStateError(archive.state);
    });
  }
}

/** Stops a run or a restore. */
@CarriesOut(cancelArchiveWorkOrder)
export class CancelArchiveWorkHandler implements OrderHandler<Cancel> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly queue: JobQueue,
  ) {}

  /** At once, whatever orders of the archive come before it. */
  async received(tx: SiteTransaction, order: ReceivedOrder<Cancel>): Promise<void> {
    if (!(await owned(this.archives, tx, order))) return;
    const { archiveId, workId } = order.payload;
    for (const { name, id } of [RUNS, RESTORES]) {
      await tx.execute(
        `UPDATE ${name} SET cancel_wanted = true WHERE ${id} = $1 AND archive_id = $2 AND ended_at IS NULL`,
        [workId, archiveId],
      );
    }
    tx.afterCommit(() => {
      this.queue.wake(advanceRunJob, { runId: workId });
      this.queue.wake(advanceRestoreJob, { restoreId: workId });
    });
  }

  /** @throws NotFoundError */
  async carryOut(order: ReceivedOrder<Cancel>): Promise<void> {
    await this.work.run(async (tx) => {
      if (!(await owned(this.archives, tx, order))) throw new NotFoundError('archive');
      await this.received(tx, order);
    });
  }
}

/** Brings something back to the agent's machine. */
@CarriesOut(restoreOrder)
export class RestoreHandler implements OrderHandler<RestoreWish> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly restores: Restores,
    private readonly queue: JobQueue,
  ) {}

  async received(tx: SiteTransaction, order: ReceivedOrder<RestoreWish>): Promise<void> {
    const archive = await owned(this.archives, tx, order);
    const { payload } = order;
    if (!archive || archive.state === 'ended') return;
    const point = await this.points.find(tx, archive.archiveId, payload.snapshotId);
    if (!point || point.forgottenAt !== null) return;
    const made = await tx.execute(
      `INSERT INTO archive_restore (restore_id, archive_id, wish, state) VALUES ($1, $2, $3, 'waiting')
       ON CONFLICT DO NOTHING`,
      [payload.restoreId, archive.archiveId, JSON.stringify(payload)],
    );
    const row = made === 1 ? await findWork(tx, RESTORES, payload.restoreId) : undefined;
    if (!row) return;
    await this.restores.tell(tx, archive, row);
    tx.afterCommit(() => this.queue.wake(advanceRestoreJob, { restoreId: payload.restoreId }));
  }

  /** @throws NotFoundError */
  async carryOut(order: ReceivedOrder<RestoreWish>): Promise<void> {
    await this.work.run(async (tx) => {
      if (await findWork(tx, RESTORES, order.payload.restoreId)) return;
      await this.received(tx, order);
      if (await findWork(tx, RESTORES, order.payload.restoreId)) return;
      const error = new NotFoundError('recovery point');
      const archive = await owned(this.archives, tx, order);
      if (archive) await this.restores.refuse(tx, archive, order.payload, error);
      else throw error;
    });
  }
}

/** New passwords for site and agent, or for the agent alone, as soon as the repository is free. */
@CarriesOut(rotateKeysOrder)
export class RotateKeysHandler implements OrderHandler<Rotate> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly queue: JobQueue,
  ) {}

  /** @throws NotFoundError, ArchiveStateError */
  async carryOut(order: ReceivedOrder<Rotate>): Promise<void> {
    const { archiveId, rotationId } = order.payload;
    await this.work.run(async (tx) => {
      const archive = await owned(this.archives, tx, order);
      if (!archive) throw new NotFoundError('archive');
      if (archive.state === 'ended') throw new ArchiveStateError(archive.state);
      await tx.execute(`UPDATE archive SET rotation_id = $2, version = version + 1 WHERE archive_id = $1`, [
        archiveId,
        rotationId,
      ]);
    });
    this.queue.wake(reconcileArchiveJob, { archiveId });
  }
}

/** Hands the way out to the agency's machine, as soon as its agent answers. */
@CarriesOut(allowExitOrder)
export class AllowExitHandler implements OrderHandler<Exit> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly queue: JobQueue,
  ) {}

  /** @throws NotFoundError, ArchiveStateError */
  async carryOut(order: ReceivedOrder<Exit>): Promise<void> {
    const { archiveId, exitId, until } = order.payload;
    await this.work.run(async (tx) => {
      const archive = await owned(this.archives, tx, order);
      if (!archive) throw new NotFoundError('archive');
      if (archive.state === 'ended') throw new ArchiveStateError(archive.state);
      await tx.execute(
        `INSERT INTO archive_exit (exit_id, archive_id, until) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
        [exitId, archiveId, until],
      );
    });
    this.queue.wake(handExitJob, { exitId });
  }
}

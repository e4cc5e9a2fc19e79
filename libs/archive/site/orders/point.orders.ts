import type { z } from 'zod';
import { dropPointOrder, holdPointOrder } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, NotFoundError } from '#libs/platform/errors';
import { JobQueue } from '#libs/platform/queue';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { Archives } from '../archives.service.js';
import { tendRetentionJob } from '../care.jobs.js';
import { Points } from '../points/points.service.js';
import { Drops } from '../retention/drops.service.js';
import { requireOwned } from './owned.js';

type HoldWish = z.infer<typeof holdPointOrder.payload>;
type DropWish = z.infer<typeof dropPointOrder.payload>;

/** Recovery points are being forgotten just now: it is tried again when they are. */
export class RetentionAtWorkError extends DomainError {
  constructor() {
    super('unavailable', 'archive.retention-at-work', 'Recovery points are being forgotten at this moment. Wait.');
  }
}

/** Keeps a point whatever its age, or lets it come of age again. Done means: it is there, and stays. */
@CarriesOut(holdPointOrder)
export class HoldPointHandler implements OrderHandler<HoldWish> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
  ) {}

  /** @throws NotFoundError, RetentionAtWorkError */
  async carryOut(order: ReceivedOrder<HoldWish>): Promise<void> {
    const { archiveId, snapshotId, because } = order.payload;
    await this.work.run(async (tx) => {
      await requireOwned(this.archives, tx, order);
      await this.archives.lock(tx, archiveId);
      const [forgetting] = await tx.query(
        `SELECT FROM archive WHERE archive_id = $1 AND work_kind = 'retention' AND work_until > clock_timestamp()`,
        [archiveId],
      );
      // What it has read before must not undo the hold.
      if (forgetting) throw new RetentionAtWorkError();
      const held = await tx.execute(
        `UPDATE archive_point SET held_because = $3
          WHERE archive_id = $1 AND snapshot_id = $2 AND forgotten_at IS NULL`,
        [archiveId, snapshotId, because],
      );
      if (held === 0) throw new NotFoundError('recovery point');
      await this.points.tell(tx, archiveId, snapshotId);
    });
  }
}

@CarriesOut(dropPointOrder)
export class DropPointHandler implements OrderHandler<DropWish> {
  constructor(
    private readonly archives: Archives,
    private readonly work: SiteUnitOfWork,
    private readonly drops: Drops,
    private readonly jobs: JobQueue,
  ) {}

  /** @throws NotFoundError */
  async carryOut(order: ReceivedOrder<DropWish>): Promise<void> {
    const { archiveId } = order.payload;
    await this.work.run(async (tx) => {
      await requireOwned(this.archives, tx, order);
      await this.drops.add(tx, order.payload);
    });
    this.jobs.wake(tendRetentionJob, { archiveId }, { key: archiveId });
  }
}

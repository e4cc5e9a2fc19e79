import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { holdPointOrder } from '#contracts/archive';
import type { TenantTransaction } from '#libs/platform/database';
import type { TenantCaller } from '#libs/tenancy/control';
import { NotHeldError, PointHeldError } from '../archive.errors.js';
import { ArchiveOrders } from '../archives/archive-orders.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { requireAuthority } from '../archives/persons.js';
import { Points, type PointView } from './point.service.js';

/** Keeps recovery points whatever their age, for a litigation, until somebody with the authority lifts it. */
@Injectable()
export class Holds {
  constructor(
    private readonly points: Points,
    private readonly archiveOrders: ArchiveOrders,
    private readonly record: ArchiveRecord,
  ) {}

  /** @throws NotFoundError, PointGoneError, PointHeldError */
  async hold(tx: TenantTransaction, pointId: string, because: string, { actor }: TenantCaller): Promise<PointView> {
    const { point, archive } = await this.points.hold(tx, pointId);
    if (point.hold) throw new PointHeldError('This recovery point is held already. Lift that hold before another one.');
    const id = randomUUID();
    await tx.execute(
      `INSERT INTO archive_hold (tenant_id, id, point_id, because, held_by) VALUES ($1, $2, $3, $4, $5)`,
      [tx.tenantId, id, pointId, because, JSON.stringify(actor)],
    );
    const { snapshotId } = point;
    await this.archiveOrders.give(tx, archive, holdPointOrder, { snapshotId, because });
    await this.record.did(tx, archive, actor, 'recovery-point.held', { pointId, snapshotId, because });
    return this.points.get(tx, pointId);
  }

  /**
   * Lifts a hold: from then on retention counts the point again. It takes a person with the authority.
   *
   * @throws NotFoundError, PersonNeededError, AuthorityNeededError, PointGoneError, NotHeldError
   */
  async lift(tx: TenantTransaction, pointId: string, caller: TenantCaller): Promise<PointView> {
    await this.points.get(tx, pointId);
    requireAuthority(caller);
    const { point, archive } = await this.points.hold(tx, pointId);
    const lifted = await tx.execute(
      `UPDATE archive_hold SET lifted_by = $3, lifted_at = now()
        WHERE tenant_id = $1 AND point_id = $2 AND lifted_at IS NULL`,
      [tx.tenantId, pointId, JSON.stringify(caller.actor)],
    );
    if (lifted === 0) throw new NotHeldError();
    const { snapshotId } = point;
    await this.archiveOrders.give(tx, archive, holdPointOrder, { snapshotId, because: null });
    await this.record.did(tx, archive, caller.actor, 'recovery-point.hold-lifted', { pointId, snapshotId });
    return this.points.get(tx, pointId);
  }
}

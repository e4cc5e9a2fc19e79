import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { dropPointOrder } from '#contracts/archive';
import type { TenantTransaction } from '#libs/platform/database';
import type { TenantCaller } from '#libs/tenancy/control';
import { DropOpenError, NoDropAskedError, PointHeldError } from '../archive.errors.js';
import { ArchiveOrders } from '../archives/archive-orders.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { requireAuthority, requireSecond } from '../archives/persons.js';
import { Points, type PointView } from './point.service.js';

/** An approval that nobody gives for so long is not given. */
const OPEN_DAYS = 7;

interface Asked {
  readonly id: string;
  readonly because: string;
  readonly askedBy: { readonly id: string; readonly name: string };
}

/**
 * Drops a recovery point before its time: one member with the authority asks for it, another one approves it. Neither is
 * an API key, since one person may hold several.
 */
@Injectable()
export class Drops {
  constructor(
    private readonly points: Points,
    private readonly archiveOrders: ArchiveOrders,
    private readonly record: ArchiveRecord,
  ) {}

  /** @throws NotFoundError, PersonNeededError, AuthorityNeededError, PointGoneError, PointHeldError, DropOpenError */
  async ask(tx: TenantTransaction, pointId: string, because: string, caller: TenantCaller): Promise<PointView> {
    await this.points.get(tx, pointId);
    requireAuthority(caller);
    const { point, archive } = await this.points.hold(tx, pointId);
    requireNotHeld(point);
    await this.expire(tx, pointId);
    const id = randomUUID();
    const asked = await tx.execute(
      `INSERT INTO drop_request (tenant_id, id, point_id, because, state, asked_by, expires_at)
       VALUES ($1, $2, $3, $4, 'asked', $5, now() + interval '${OPEN_DAYS} days') ON CONFLICT DO NOTHING`,
      [tx.tenantId, id, pointId, because, JSON.stringify(caller.actor)],
    );
    if (asked === 0) throw new DropOpenError();
    await this.record.tell(tx, archive, {
      kind: 'archives.drop-asked',
      severity: 'warning',
      title: `${archive.workloadName}: a recovery point is to be dropped`,
      text: `${caller.actor.name} asks that the recovery point of ${archive.workloadName} from ${point.receivedAt.toISOString()} be dropped before its time: ${because}\nAnother owner or member with the authority to declare approves it within ${OPEN_DAYS} days (POST /v1/recovery-points/${pointId}/drop/approve), or withdraws it (DELETE /v1/recovery-points/${pointId}/drop).`,
      about: { pointId },
    });
    await this.record.did(tx, archive, caller.actor, 'recovery-point.drop-asked', {
      pointId,
      dropId: id,
      snapshotId: point.snapshotId,
      because,
    });
    return this.points.get(tx, pointId);
  }

  /** @throws NotFoundError, PersonNeededError, AuthorityNeededError, NoDropAskedError, SecondPersonNeededError, AskerGoneError,
   *   PointHeldError */
  async approve(tx: TenantTransaction, pointId: string, caller: TenantCaller): Promise<PointView> {
    await this.points.get(tx, pointId);
    requireAuthority(caller);
    const { point, archive } = await this.points.hold(tx, pointId);
    await this.expire(tx, pointId);
    const asked = await this.asked(tx, pointId);
    if (!asked) throw new NoDropAskedError();
    await requireSecond(tx, asked.askedBy, caller);
    requireNotHeld(point);
    await tx.execute(
      `UPDATE drop_request SET state = 'approved', approved_by = $3, approved_at = now()
        WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, asked.id, JSON.stringify(caller.actor)],
    );
    await this.archiveOrders.give(tx, archive, dropPointOrder, {
      snapshotId: point.snapshotId,
      dropId: asked.id,
      asked: asked.askedBy.name,
      approved: caller.actor.name,
    });
    await this.record.did(tx, archive, caller.actor, 'recovery-point.drop-approved', {
      pointId,
      dropId: asked.id,
      snapshotId: point.snapshotId,
      because: asked.because,
      askedBy: asked.askedBy.name,
    });
    return this.points.get(tx, pointId);
  }

  /** Before it is approved; whoever may ask may also withdraw. @throws NotFoundError, PersonNeededError, NoDropAskedError */
  async withdraw(tx: TenantTransaction, pointId: string, caller: TenantCaller): Promise<PointView> {
    await this.points.get(tx, pointId);
    requireAuthority(caller);
    const { archive } = await this.points.hold(tx, pointId);
    const withdrawn = await tx.execute(
      `UPDATE drop_request SET state = 'withdrawn', finished_at = now()
        WHERE tenant_id = $1 AND point_id = $2 AND state = 'asked'`,
      [tx.tenantId, pointId],
    );
    if (withdrawn === 0) throw new NoDropAskedError();
    await this.record.did(tx, archive, caller.actor, 'recovery-point.drop-withdrawn', { pointId });
    return this.points.get(tx, pointId);
  }

  private async asked(tx: TenantTransaction, pointId: string): Promise<Asked | undefined> {
    const [row] = await tx.query<Asked>(
      `SELECT id, because, asked_by AS "askedBy" FROM drop_request
        WHERE tenant_id = $1 AND point_id = $2 AND state = 'asked'`,
      [tx.tenantId, pointId],
    );
    return row;
  }

  private async expire(tx: TenantTransaction, pointId: string): Promise<void> {
    await tx.execute(
      `UPDATE drop_request SET state = 'expired', finished_at = now()
        WHERE tenant_id = $1 AND point_id = $2 AND state = 'asked' AND expires_at < now()`,
      [tx.tenantId, pointId],
    );
  }
}

function requireNotHeld({ hold }: PointView): void {
  if (hold) throw new PointHeldError('This recovery point is held: nothing of it is dropped until the hold is lifted.');
}

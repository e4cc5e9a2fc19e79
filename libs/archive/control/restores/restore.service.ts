import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  cancelArchiveWorkOrder,
  type Failure,
  type Progress,
  restoreOrder,
  type RestoreReport,
  type RestoreTarget,
  type RestoreWish,
} from '#contracts/archive';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import type { Actor } from '#libs/audit/control';
import { RestoreEndedError, RestoreFolderNeededError, TooManyRestoresError } from '../archive.errors.js';
import { OPEN_RESTORES, restoreHasEnded, type RestoreState } from '../archive.states.js';
import { ArchiveOrders } from '../archives/archive-orders.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { Archives } from '../archives/archive.service.js';
import { Points } from '../points/point.service.js';

export interface RestoreInput extends Pick<RestoreWish, 'paths' | 'target' | 'overwrite'> {
  readonly pointId: string;
}

export interface RestoreView extends Pick<RestoreWish, 'paths' | 'overwrite'> {
  readonly id: string;
  readonly archiveId: string;
  readonly pointId: string;
  readonly target: RestoreTarget;
  readonly askedBy: { readonly name: string };
  readonly state: RestoreState;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
  readonly progress: Progress | null;
  readonly filesRestored: number;
  readonly filesSkipped: number;
  readonly bytesRestored: number;
  readonly faultCount: number;
  readonly faults: RestoreReport['faults'];
  readonly failure: Failure | null;
  /** Where a dump lies, and how it is loaded. */
  readonly note: string | null;
  readonly version: number;
  /** For the next page's cursor. */
  readonly createdText: string;
}

/** Of one agency: each keeps an agent and a site busy. */
const OPEN_AT_ONCE = 20;

const QUERY = `SELECT id, archive_id AS "archiveId", point_id AS "pointId", paths, target, overwrite, asked_by AS "askedBy",
    state, created_at AS "createdAt", started_at AS "startedAt", ended_at AS "endedAt", progress,
    files_restored::float8 AS "filesRestored", files_skipped::float8 AS "filesSkipped",
    bytes_restored::float8 AS "bytesRestored", fault_count AS "faultCount", faults, failure, note, version,
    created_at::text AS "createdText"
  FROM archive_restore WHERE tenant_id = $1`;

/** Brings files of a recovery point back to the agent's machine. */
@Injectable()
export class Restores {
  constructor(
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly archiveOrders: ArchiveOrders,
    private readonly record: ArchiveRecord,
  ) {}

  /** @throws NotFoundError, PointGoneError, RestoreFolderNeededError, TooManyRestoresError */
  async begin(tx: TenantTransaction, input: RestoreInput, actor: Actor): Promise<RestoreView> {
    const { pointId, paths, target, overwrite } = input;
    const { point, archive } = await this.points.hold(tx, pointId);
    if (archive.source !== 'files' && target.kind === 'original') throw new RestoreFolderNeededError();
    await this.requirePlace(tx);
    const restoreId = randomUUID();
    await tx.execute(
      `INSERT INTO archive_restore (tenant_id, id, archive_id, point_id, paths, target, overwrite, asked_by, state)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting')`,
      [
        tx.tenantId,
        restoreId,
        archive.id,
        pointId,
        JSON.stringify(paths),
        JSON.stringify(target),
        overwrite,
        JSON.stringify(actor),
      ],
    );
    const { snapshotId } = point;
    await this.archiveOrders.give(tx, archive, restoreOrder, { restoreId, snapshotId, paths, target, overwrite });
    await this.record.did(tx, archive, actor, 'restore.begun', {
      restoreId,
      pointId,
      target,
      overwrite,
      paths: paths.slice(0, 20),
      pathCount: paths.length,
    });
    return this.get(tx, restoreId);
  }

  /** Asks the site to stop; what was restored by then stays. @throws NotFoundError, RestoreEndedError */
  async cancel(tx: TenantTransaction, id: string, actor: Actor): Promise<RestoreView> {
    const { archiveId } = await this.get(tx, id);
    const archive = await this.archives.hold(tx, archiveId);
    const restore = await this.get(tx, id);
    if (restoreHasEnded(restore.state)) throw new RestoreEndedError(restore.state);
    await this.archiveOrders.give(tx, archive, cancelArchiveWorkOrder, { workId: id });
    await this.record.did(tx, archive, actor, 'restore.cancel-asked', { restoreId: id });
    return restore;
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<RestoreView> {
    const [row] = await tx.query<RestoreView>(`${QUERY} AND id = $2`, [tx.tenantId, id]);
    if (!row) throw new NotFoundError('restore');
    return row;
  }

  /** The newest first, of one archive or of all; `limit + 1` at most. */
  list(
    tx: TenantTransaction,
    archiveId: string | null,
    after: readonly [string, string] | undefined,
    limit: number,
  ): Promise<RestoreView[]> {
    return tx.query<RestoreView>(
      `${QUERY} AND ($2::uuid IS NULL OR archive_id = $2)
          AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))
        ORDER BY created_at DESC, id DESC LIMIT $5`,
      [tx.tenantId, archiveId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
  }

  /** One after another for each agency, so that two do not both take the last place. */
  private async requirePlace(tx: TenantTransaction): Promise<void> {
    await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [`restores of ${tx.tenantId}`]);
    const [row] = await tx.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM archive_restore WHERE tenant_id = $1 AND state = ANY($2)`,
      [tx.tenantId, OPEN_RESTORES],
    );
    if ((row?.count ?? 0) >= OPEN_AT_ONCE) throw new TooManyRestoresError(OPEN_AT_ONCE);
  }
}

import { Injectable } from '@nestjs/common';
import type { PointReport } from '#contracts/archive';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { PointGoneError } from '../archive.errors.js';
import type { DropState } from '../archive.states.js';
import { Archives } from '../archives/archive.service.js';
import type { ArchiveRow } from '../archives/archive-store.js';

type Said = Pick<
  PointReport,
  'snapshotId' | 'runId' | 'part' | 'clockDiffers' | 'files' | 'bytes' | 'bytesAddedPacked'
> &
  Pick<PointReport, 'change' | 'proof' | 'pinned' | 'heldBecause' | 'forgottenBecause'>;

export interface PointView extends Said {
  readonly id: string;
  readonly archiveId: string;
  readonly receivedAt: Date;
  readonly claimedAt: Date;
  readonly ageSeconds: number;
  readonly forgottenAt: Date | null;
  /** A person's hold; `atSite` once the site has said that it holds the point. */
  readonly hold: {
    readonly because: string;
    readonly heldBy: { readonly name: string };
    readonly heldAt: Date;
    readonly atSite: boolean;
  } | null;
  /** The newest request to drop it before its time. */
  readonly drop: {
    readonly id: string;
    readonly state: DropState;
    readonly because: string;
    readonly askedBy: { readonly name: string };
    readonly askedAt: Date;
    readonly approvedBy: { readonly name: string } | null;
    readonly failure: { readonly code: string; readonly message: string } | null;
  } | null;
  /** For the next page's cursor. */
  readonly receivedText: string;
}

const QUERY = `SELECT p.id, p.archive_id AS "archiveId", p.snapshot_id AS "snapshotId", p.run_id AS "runId", p.part,
    p.received_at AS "receivedAt", p.claimed_at AS "claimedAt", p.clock_differs AS "clockDiffers",
    greatest(0, floor(extract(epoch FROM now() - p.received_at)))::float8 AS "ageSeconds", p.files::float8 AS files,
    p.bytes::float8 AS bytes, p.bytes_added_packed::float8 AS "bytesAddedPacked", p.change, p.proof,
    p.held_because AS "heldBecause", p.pinned, p.forgotten_at AS "forgottenAt",
    p.forgotten_because AS "forgottenBecause", p.received_at::text AS "receivedText",
    (SELECT json_build_object('because', h.because, 'heldBy', h.held_by, 'heldAt', h.held_at,
                              'atSite', p.held_because IS NOT NULL)
       FROM archive_hold h WHERE h.tenant_id = p.tenant_id AND h.point_id = p.id AND h.lifted_at IS NULL) AS hold,
    (SELECT json_build_object('id', d.id, 'state', CASE WHEN d.state = 'asked' AND d.expires_at < now() THEN 'expired'
                                                        ELSE d.state END,
                              'because', d.because, 'askedBy', d.asked_by, 'askedAt', d.asked_at,
                              'approvedBy', d.approved_by, 'failure', d.failure)
       FROM drop_request d WHERE d.tenant_id = p.tenant_id AND d.point_id = p.id
      ORDER BY d.asked_at DESC LIMIT 1) AS drop
  FROM recovery_point p WHERE p.tenant_id = $1`;

export interface PointFilter {
  /** Received before: for the one before the mistake. */
  readonly before: Date | null;
  readonly part: string | null;
  /** Those that were removed, too. */
  readonly forgotten: boolean;
}

/** Recovery points: states that a workload can be brought back to. */
@Injectable()
export class Points {
  constructor(private readonly archives: Archives) {}

  /** The newest first, `limit + 1` at most. @throws NotFoundError for the archive */
  async list(
    tx: TenantTransaction,
    archiveId: string,
    filter: PointFilter,
    after: readonly [string, string] | undefined,
    limit: number,
  ): Promise<PointView[]> {
    await this.archives.get(tx, archiveId);
    const rows = await tx.query<PointView>(
      `${QUERY} AND p.archive_id = $2 AND ($3::timestamptz IS NULL OR p.received_at < $3)
          AND ($4::text IS NULL OR p.part = $4) AND ($5 OR p.forgotten_at IS NULL)
          AND ($6::timestamptz IS NULL OR (p.received_at, p.id) < ($6, $7::uuid))
        ORDER BY p.received_at DESC, p.id DESC LIMIT $8`,
      [
        tx.tenantId,
        archiveId,
        filter.before,
        filter.part,
        filter.forgotten,
        after?.[0] ?? null,
        after?.[1] ?? null,
        limit + 1,
      ],
    );
    return rows.map(toView);
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<PointView> {
    const [row] = await tx.query<PointView>(`${QUERY} AND p.id = $2`, [tx.tenantId, id]);
    if (!row) throw new NotFoundError('recovery point');
    return toView(row);
  }

  /** A point that is there, and its archive. @throws NotFoundError, PointGoneError */
  async look(tx: TenantTransaction, id: string): Promise<{ point: PointView; archive: ArchiveRow }> {
    const point = await this.get(tx, id);
    const archive = await this.archives.get(tx, point.archiveId);
    if (point.forgottenAt !== null) throw new PointGoneError();
    return { point, archive };
  }

  /** The same with the workload's row held, for who gives orders about it. @throws NotFoundError, PointGoneError */
  async hold(tx: TenantTransaction, id: string): Promise<{ point: PointView; archive: ArchiveRow }> {
    const { archiveId, forgottenAt } = await this.get(tx, id);
    if (forgottenAt !== null) throw new PointGoneError();
    await this.archives.hold(tx, archiveId);
    return this.look(tx, id);
  }
}

/** Inside JSON, times arrive as text. */
const toView = ({ hold, drop, ...row }: PointView): PointView => ({
  ...row,
  hold: hold && { ...hold, heldAt: new Date(hold.heldAt) },
  drop: drop && { ...drop, askedAt: new Date(drop.askedAt) },
});

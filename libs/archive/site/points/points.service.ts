import { Injectable } from '@nestjs/common';
import { type PointReport, pointResult, type Proof } from '#contracts/archive';
import type { SiteTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { SiteOutbox } from '#libs/sites/site';

/** A recovery point, as its row has it. Bytes and files null: not known. */
export interface PointRow {
  readonly archiveId: string;
  readonly snapshotId: string;
  readonly runId: string | null;
  readonly part: string | null;
  /** By the vault's clock: what counts. */
  readonly receivedAt: Date;
  readonly claimedAt: Date;
  readonly clockDiffers: boolean;
  readonly files: number | null;
  readonly bytes: number | null;
  readonly bytesAddedPacked: number | null;
  readonly change: PointReport['change'];
  readonly proof: Proof;
  readonly proofState: Proof['state'];
  readonly provenAt: Date | null;
  readonly proofTries: number;
  readonly heldBecause: string | null;
  readonly pinned: boolean;
  readonly forgottenAt: Date | null;
  readonly forgottenBecause: PointReport['forgottenBecause'];
}

const POINT_COLUMNS = `
  archive_id AS "archiveId", snapshot_id AS "snapshotId", run_id AS "runId", part, received_at AS "receivedAt",
  claimed_at AS "claimedAt", clock_differs AS "clockDiffers", files::float8 AS files, bytes::float8 AS bytes,
  bytes_added_packed::float8 AS "bytesAddedPacked", change, proof, proof_state AS "proofState", proven_at AS "provenAt",
  proof_tries AS "proofTries", held_because AS "heldBecause", pinned, forgotten_at AS "forgottenAt",
  forgotten_because AS "forgottenBecause"`;

/** What is known of a snapshot that the vault has. */
export type PointWish = Pick<
  PointRow,
  | 'archiveId'
  | 'snapshotId'
  | 'runId'
  | 'part'
  | 'claimedAt'
  | 'clockDiffers'
  | 'files'
  | 'bytes'
  | 'bytesAddedPacked'
  | 'change'
>;

export const NEVER_PROVEN: Proof = { state: 'never', at: null, seconds: null, checks: [], failure: null };
/** The vault's times may be another machine's: those of an object store. */
const SLACK = '10 minutes';
/** Of a run `r` and what the vault has received, `v`. */
export const WHILE_UNDER_WAY = `v.received_at >= r.started_at - interval '${SLACK}'
  AND v.received_at <= coalesce(r.ended_at, 'infinity') + interval '${SLACK}'`;
const NOT_OURS: Proof = { ...NEVER_PROVEN, state: 'not-possible' };

/** The recovery points of archives: snapshots that the vault has received. */
@Injectable()
export class Points {
  constructor(private readonly outbox: SiteOutbox) {}

  /**
   * Makes the point, or says more of it. The time of receipt is the vault's. False when the vault has no such snapshot, or
   * another run has it: what an agent, or a tag, says moves no point from one run to another, and into none that was not
   * under way when the vault received it. Retention takes the parts of one run together, so it would take what was kept.
   */
  async upsert(tx: SiteTransaction, point: PointWish): Promise<boolean> {
    const written = await tx.execute(
      `INSERT INTO archive_point (archive_id, snapshot_id, run_id, part, received_at, claimed_at, clock_differs, files,
                                  bytes, bytes_added_packed, change, proof, proof_state)
       SELECT a.archive_id, v.snapshot_id, r.run_id, $4, v.received_at, $5, $6, $7, $8, $9, $10,
              CASE a.key_mode WHEN 'escrowed' THEN $11::jsonb ELSE $12::jsonb END,
              CASE a.key_mode WHEN 'escrowed' THEN 'never' ELSE 'not-possible' END
         FROM archive a JOIN vault_snapshot v ON v.repository_id = a.archive_id
         LEFT JOIN archive_run r ON r.archive_id = a.archive_id AND r.run_id = $3
              AND ${WHILE_UNDER_WAY}
        WHERE a.archive_id = $1 AND v.snapshot_id = $2
       ON CONFLICT (archive_id, snapshot_id) DO UPDATE
         SET run_id = coalesce(archive_point.run_id, excluded.run_id), part = coalesce(archive_point.part, excluded.part),
             claimed_at = excluded.claimed_at, clock_differs = excluded.clock_differs,
             files = coalesce(excluded.files, archive_point.files), bytes = coalesce(excluded.bytes, archive_point.bytes),
             bytes_added_packed = coalesce(excluded.bytes_added_packed, archive_point.bytes_added_packed),
             change = coalesce(excluded.change, archive_point.change)
         WHERE archive_point.run_id IS NULL OR archive_point.run_id = excluded.run_id`,
      [
        point.archiveId,
        point.snapshotId,
        point.runId,
        point.part,
        point.claimedAt,
        point.clockDiffers,
        point.files,
        point.bytes,
        point.bytesAddedPacked,
        point.change === null ? null : JSON.stringify(point.change),
        JSON.stringify(NEVER_PROVEN),
        JSON.stringify(NOT_OURS),
      ],
    );
    return written === 1;
  }

  async find(tx: SiteTransaction, archiveId: string, snapshotId: string): Promise<PointRow | undefined> {
    const [row] = await tx.query<PointRow>(
      `SELECT ${POINT_COLUMNS} FROM archive_point WHERE archive_id = $1 AND snapshot_id = $2`,
      [archiveId, snapshotId],
    );
    return row;
  }

  /** Those that are there, newest first; the forgotten ones too when asked for. */
  async list(
    tx: SiteTransaction,
    archiveId: string,
    { forgotten = false }: { readonly forgotten?: boolean } = {},
  ): Promise<PointRow[]> {
    return tx.query<PointRow>(
      `SELECT ${POINT_COLUMNS} FROM archive_point WHERE archive_id = $1 AND ($2 OR forgotten_at IS NULL)
        ORDER BY received_at DESC, snapshot_id`,
      [archiveId, forgotten],
    );
  }

  /** Tells the control plane all of it, as it is in this transaction. @throws NotFoundError */
  async tell(tx: SiteTransaction, archiveId: string, snapshotId: string): Promise<void> {
    const row = await this.find(tx, archiveId, snapshotId);
    const [owner] = await tx.query<{ tenantId: string; workloadId: string }>(
      `SELECT tenant_id AS "tenantId", workload_id AS "workloadId" FROM archive WHERE archive_id = $1`,
      [archiveId],
    );
    if (!row || !owner) throw new NotFoundError('recovery point');
    await this.outbox.emit(
      tx,
      pointResult,
      { tenantId: owner.tenantId },
      {
        archiveId,
        workloadId: owner.workloadId,
        snapshotId,
        runId: row.runId,
        part: row.part,
        receivedAt: row.receivedAt.toISOString(),
        claimedAt: row.claimedAt.toISOString(),
        clockDiffers: row.clockDiffers,
        files: row.files,
        bytes: row.bytes,
        bytesAddedPacked: row.bytesAddedPacked,
        change: row.change,
        proof: row.proof,
        heldBecause: row.heldBecause,
        pinned: row.pinned,
        forgottenAt: row.forgottenAt?.toISOString() ?? null,
        forgottenBecause: row.forgottenBecause,
      },
    );
  }
}

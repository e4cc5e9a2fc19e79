import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import type { Proof } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Points, type PointRow } from '../points/points.service.js';

/** A proof that failed is tried again: what failed may have been the site's. */
const TRIES = 3;
/** After a try without an answer: no room, a prune, a program that is not installed. */
const AGAIN_HOURS = 3;
/** Of so many proofs one is of the oldest point that has none, so that a busy site comes round to each. */
const OLDEST_EVERY = 4;

/** One proof is made at a time, so whoever looks for the next finds in `running` only one whose end could not be written down. */
const WAITING = `p.forgotten_at IS NULL AND a.key_mode = 'escrowed' AND a.state IN ('active', 'paused', 'ending')
  AND (p.proof_state = 'never'
    OR (p.proof_state IN ('running', 'failed', 'not-possible') AND p.proof_tries < ${TRIES}))
  AND coalesce((p.proof->>'at')::timestamptz, '-infinity') < clock_timestamp() - interval '${AGAIN_HOURS} hours'`;

/** Which recovery point is proven next: the newest that never was, and each at least once. */
@Injectable()
export class ProofQueue implements OnApplicationBootstrap {
  private turns = 0;

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly points: Points,
  ) {}

  /** A killed process's proof is begun anew, later and after the others: it may be what has killed it. */
  async onApplicationBootstrap(): Promise<void> {
    const at = JSON.stringify({ state: 'never', at: new Date().toISOString() });
    await this.work.run(async (tx) => {
      const killed = await tx.query<{ archiveId: string; snapshotId: string }>(
        `UPDATE archive_point SET proof_state = 'never', proof_tries = proof_tries + 1, proof = proof || $1::jsonb
          WHERE proof_state = 'running' RETURNING archive_id AS "archiveId", snapshot_id AS "snapshotId"`,
        [at],
      );
      for (const { archiveId, snapshotId } of killed) await this.points.tell(tx, archiveId, snapshotId);
    });
  }

  async waits(): Promise<boolean> {
    const rows = await this.work.run((tx) =>
      tx.query(`SELECT FROM archive_point p JOIN archive a USING (archive_id) WHERE ${WAITING} LIMIT 1`),
    );
    return rows.length > 0;
  }

  /** The next one, which is now `running`. */
  async take(): Promise<PointRow | undefined> {
    this.turns += 1;
    const order = this.turns % OLDEST_EVERY === 0 ? 'ASC' : 'DESC';
    return this.work.run(async (tx) => {
      const [next] = await tx.query<{ archiveId: string; snapshotId: string }>(
        `SELECT p.archive_id AS "archiveId", p.snapshot_id AS "snapshotId"
           FROM archive_point p JOIN archive a USING (archive_id) WHERE ${WAITING}
          ORDER BY p.proof_tries, p.received_at ${order} LIMIT 1 FOR UPDATE OF p SKIP LOCKED`,
      );
      if (!next) return undefined;
      const point = await this.points.find(tx, next.archiveId, next.snapshotId);
      await tx.execute(
        `UPDATE archive_point SET proof_tries = proof_tries + (proof_state = 'running')::int, proof_state = 'running',
                proof = jsonb_set(proof, '{state}', '"running"')
          WHERE archive_id = $1 AND snapshot_id = $2`,
        [next.archiveId, next.snapshotId],
      );
      await this.points.tell(tx, next.archiveId, next.snapshotId);
      return point;
    });
  }

  /** @param counted whether the point itself was tried, rather than something of the site's in the way */
  async settle(
    { archiveId, snapshotId }: PointRow,
    proof: Proof,
    { counted, rowCounts }: { readonly counted: boolean; readonly rowCounts: Readonly<Record<string, number>> | null },
  ): Promise<void> {
    await this.work.run(async (tx) => {
      await tx.execute(
        `UPDATE archive_point
            SET proof = $3, proof_state = $4, proven_at = CASE $4 WHEN 'proven' THEN $5::timestamptz ELSE proven_at END,
                proof_tries = proof_tries + $6, row_counts = coalesce($7, row_counts)
          WHERE archive_id = $1 AND snapshot_id = $2`,
        [
          archiveId,
          snapshotId,
          JSON.stringify(proof),
          proof.state,
          proof.at,
          counted ? 1 : 0,
          rowCounts && JSON.stringify(rowCounts),
        ],
      );
      await this.points.tell(tx, archiveId, snapshotId);
    });
  }

  /**
   * The rows by table of the last proven dump of this database before this point. Only of runs that are under no suspicion:
   * whoever has a stolen credential could otherwise have a small dump of his compared with.
   */
  async countsBefore({ archiveId, part, receivedAt }: PointRow): Promise<Readonly<Record<string, number>> | null> {
    const [row] = await this.work.run((tx) =>
      tx.query<{ counts: Record<string, number> }>(
        `SELECT p.row_counts AS counts
           FROM archive_point p LEFT JOIN archive_run r ON r.archive_id = p.archive_id AND r.run_id = p.run_id
          WHERE p.archive_id = $1 AND p.part = $2 AND p.received_at < $3 AND p.row_counts IS NOT NULL
            AND p.run_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM archive_change c
                             WHERE c.archive_id = p.archive_id AND c.state <> 'false-positive'
                               AND (c.run_id = p.run_id OR c.change_id = (r.measures->>'changeId')::uuid))
          ORDER BY p.received_at DESC LIMIT 1`,
        [archiveId, part, receivedAt],
      ),
    );
    return row?.counts ?? null;
  }

  /** The part of the same run that has the server's roles. */
  async globalsOf({ archiveId, runId }: PointRow): Promise<string | undefined> {
    const [row] = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT snapshot_id AS id FROM archive_point
          WHERE archive_id = $1 AND run_id = $2 AND part = 'globals' AND forgotten_at IS NULL`,
        [archiveId, runId],
      ),
    );
    return row?.id;
  }
}

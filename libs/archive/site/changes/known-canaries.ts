import { Injectable } from '@nestjs/common';
import type { SiteTransaction } from '#libs/platform/database';
import type { Seen } from '../proof/seen.js';

/** How the agency's canaries are known, where that is changed by people. */
@Injectable()
export class KnownCanaries {
  /** A change was meant: as its newest point has the canaries, so they are known. One that is gone is learnt anew. */
  async learn(tx: SiteTransaction, archiveId: string, changeId: string): Promise<void> {
    const [newest] = await tx.query<{ canaries: Seen['canaries']; receivedAt: Date }>(
      `SELECT p.seen->'canaries' AS canaries, p.received_at AS "receivedAt"
         FROM archive_point p JOIN archive_run r ON r.run_id = p.run_id
        WHERE p.archive_id = $1 AND p.seen IS NOT NULL AND r.measures->>'changeId' = $2
        ORDER BY p.received_at DESC LIMIT 1`,
      [archiveId, changeId],
    );
    for (const { path, sha256, state } of newest?.canaries ?? []) {
      if (state !== 'changed' && state !== 'missing') continue;
      await tx.execute(`UPDATE archive_canary SET sha256 = $3, received_at = $4 WHERE archive_id = $1 AND path = $2`, [
        archiveId,
        path,
        sha256,
        newest?.receivedAt,
      ]);
    }
  }

  /**
   * What is listed now is learnt from a recovery point that comes after it; one that is not listed any more is forgotten,
   * so listed again, it is learnt anew.
   */
  async list(tx: SiteTransaction, archiveId: string, listed: readonly string[]): Promise<void> {
    await tx.execute(`DELETE FROM archive_canary WHERE archive_id = $1 AND path <> ALL($2::text[])`, [
      archiveId,
      [...listed],
    ]);
    await tx.execute(
      `INSERT INTO archive_canary (archive_id, path, received_at) SELECT $1, path, clock_timestamp()
         FROM unnest($2::text[]) AS path ON CONFLICT DO NOTHING`,
      [archiveId, [...listed]],
    );
  }
}

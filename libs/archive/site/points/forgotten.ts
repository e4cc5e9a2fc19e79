import type { SiteTransaction } from '#libs/platform/database';
import type { Points } from './points.service.js';

/** Says of a snapshot that has gone from the vault why, and tells it. Safe to repeat: the first reason stays. */
export async function markForgotten(
  tx: SiteTransaction,
  points: Points,
  archiveId: string,
  snapshotId: string,
  because: 'retention' | 'two-people' | 'missing',
): Promise<void> {
  const marked = await tx.execute(
    `UPDATE archive_point SET forgotten_at = clock_timestamp(), forgotten_because = $3, seen = NULL, seen_new = false
      WHERE archive_id = $1 AND snapshot_id = $2 AND forgotten_at IS NULL`,
    [archiveId, snapshotId, because],
  );
  if (marked > 0) await points.tell(tx, archiveId, snapshotId);
}

/**
 * Says of a snapshot that the vault has again that it is a recovery point, and tells it; what two people dropped is none. Safe to
 * repeat.
 */
export async function markReturned(
  tx: SiteTransaction,
  points: Points,
  archiveId: string,
  snapshotId: string,
): Promise<void> {
  const marked = await tx.execute(
    `UPDATE archive_point SET forgotten_at = NULL, forgotten_because = NULL
      WHERE archive_id = $1 AND snapshot_id = $2 AND forgotten_because <> 'two-people'`,
    [archiveId, snapshotId],
  );
  if (marked > 0) await points.tell(tx, archiveId, snapshotId);
}

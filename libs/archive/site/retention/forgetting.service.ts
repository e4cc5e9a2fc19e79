import { Injectable } from '@nestjs/common';
import { retentionNow } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { markForgotten } from '../points/forgotten.js';
import { Points } from '../points/points.service.js';
import { Maintenance } from './maintenance.js';
import { planRetention, type RetentionPoint } from './retention-plan.js';

/** Forgets what the plan lets go, by explicit ids. */
@Injectable()
export class Forgetting {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly points: Points,
    private readonly maintenance: Maintenance,
    private readonly clock: Clock,
  ) {}

  /** What retention would let go now: nothing under a hold of the whole repository. */
  private async plan(tx: SiteTransaction, archive: ArchiveRow): Promise<readonly string[]> {
    const [terms] = await tx.query<{ seconds: number; heldBecause: string | null }>(
      `SELECT minimum_age_seconds AS seconds, held_because AS "heldBecause" FROM vault_repository
        WHERE repository_id = $1`,
      [archive.archiveId],
    );
    if (!terms || terms.heldBecause !== null) return [];
    const points = await tx.query<RetentionPoint>(
      `SELECT p.snapshot_id AS "snapshotId", p.run_id AS "runId", p.received_at AS "receivedAt",
              coalesce(r.state = 'completed', true) AS whole, p.held_because IS NOT NULL AS held, p.pinned
         FROM archive_point p LEFT JOIN archive_run r ON r.run_id = p.run_id
        WHERE p.archive_id = $1 AND p.forgotten_at IS NULL`,
      [archive.archiveId],
    );
    const { timeZone } = archive.policy;
    const now = this.clock.now();
    const retention = retentionNow(archive.policy, archive.formerRetention, now);
    return planRetention(points, { retention, timeZone, minimumAgeSeconds: terms.seconds, now }).forgotten;
  }

  /** @returns whether it is done, or somebody is in the way. */
  async forget(archive: ArchiveRow, signal: AbortSignal): Promise<boolean> {
    const { archiveId } = archive;
    // Read with the repository taken: a point is held (PointHolds) only while nobody forgets.
    const ids = await this.work.run((tx) => this.plan(tx, archive));
    if (ids.length === 0) return true;
    if ((await this.maintenance.forget(archive, ids, signal)) === 'busy') return false;
    const there = await this.maintenance.present(archiveId, ids);
    const gone = ids.filter((id) => !there.has(id));
    await this.work.run(async (tx) => {
      for (const snapshotId of gone) await markForgotten(tx, this.points, archiveId, snapshotId, 'retention');
    });
    return true;
  }
}

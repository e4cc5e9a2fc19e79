import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { markForgotten } from '../points/forgotten.js';
import { Points } from '../points/points.service.js';
import { Drops } from './drops.service.js';
import { Maintenance } from './maintenance.js';
import { Pruning } from './pruning.service.js';
import { planRetention, type RetentionPoint } from './retention-plan.js';

/** States in which recovery points come of age. */
const TENDED: ReadonlySet<string> = new Set(['active', 'paused', 'ending']);

/**
 * Lets recovery points go that no rule keeps, and then what only they used. Whatever breaks off goes on the next time: each
 * step looks at what the vault has.
 */
@Injectable()
export class RetentionService {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly drops: Drops,
    private readonly maintenance: Maintenance,
    private readonly pruning: Pruning,
    private readonly clock: Clock,
  ) {}

  /** Archives where it is time: once an hour, and at once where two people want a point gone. */
  async due(limit: number): Promise<readonly string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT archive_id AS id FROM archive a
          WHERE state = ANY($1)
            AND (retention_at IS NULL OR retention_at < clock_timestamp() - interval '1 hour'
              OR EXISTS (SELECT FROM archive_drop d WHERE d.archive_id = a.archive_id AND d.state = 'waiting'))
            AND (work_id IS NULL OR work_until < clock_timestamp())
          ORDER BY retention_at NULLS FIRST LIMIT $2`,
        [[...TENDED], limit],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /** Does nothing where the repository is another's at the moment. @throws what maintenance throws */
  async tend(archiveId: string, signal: AbortSignal): Promise<void> {
    const archive = await this.work.run((tx) => this.archives.find(tx, archiveId));
    if (!archive || !TENDED.has(archive.state)) return;
    const free = await this.archives.hold(
      archiveId,
      'retention',
      async (held) => {
        await this.drops.carryOut(archive, held);
        return this.forget(archive, held);
      },
      signal,
    );
    if (free !== true) return;
    await this.pruning.prune(archiveId, signal);
    await this.work.run(async (tx) => {
      await tx.execute(`UPDATE archive SET retention_at = clock_timestamp() WHERE archive_id = $1`, [archiveId]);
    });
  }

  /** What retention would let go now: nothing under a hold of the whole repository. */
  async plan(tx: SiteTransaction, archive: ArchiveRow): Promise<readonly string[]> {
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
    const { retention, timeZone } = archive.policy;
    const now = this.clock.now();
    return planRetention(points, { retention, timeZone, minimumAgeSeconds: terms.seconds, now }).forgotten;
  }

  /** @returns whether it is done, or somebody is in the way. */
  private async forget(archive: ArchiveRow, signal: AbortSignal): Promise<boolean> {
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

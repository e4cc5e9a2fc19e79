import { Injectable } from '@nestjs/common';
import { type Retention, retentionNow } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from './archive.row.js';
import { Archives } from './archives.service.js';
import { CopySite } from './copies/copy-site.js';
import { UsageFacts } from './facts/usage-facts.js';
import { ArchiveKeys } from './keys/archive-keys.js';
import { markForgotten } from './points/forgotten.js';
import { Points } from './points/points.service.js';
import { SiteRestic } from './restic/site-restic.js';
import { VaultService } from './vault/vault.module.js';

const DAY_MS = 86_400_000;
/** A second copy that its keeper retains is asked for again so often. */
const RETAINED_MS = 3_600_000;

/**
 * For how long the longest of the rules keeps a point, in days. Without new points no rule ever drops the last ones, so
 * an archive that has ended goes by their age.
 */
export const longestDays = ({ hours, days, weeks, months, years }: Retention): number =>
  Math.max(hours / 24, days, weeks * 7, months * 31, years * 366);

/** What the end of an archive concerns beside its bytes. */
@Injectable()
export class EndingParts {
  constructor(
    readonly points: Points,
    readonly keys: ArchiveKeys,
    readonly usage: UsageFacts,
  ) {}
}

/** The end of an archive: its points stay until their time, then the repository goes. */
@Injectable()
export class Ending {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly parts: EndingParts,
    private readonly vault: VaultService,
    private readonly restic: SiteRestic,
    private readonly clock: Clock,
    private readonly copies: CopySite,
  ) {}

  /** Safe to repeat. */
  async advance(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const { archiveId } = archive;
    if (!(await this.isOver(archive))) return;
    const remove = async () => {
      // A hold that came in between counts; from here on holds wait (HoldPointHandler).
      const now = await this.work.run((tx) => this.archives.get(tx, archiveId));
      if (now.state !== 'ending' || !(await this.isOver(now))) return;
      await this.vault.objects.removeAll(archiveId);
      await this.restic.forgetCache(archiveId);
      await this.work.run((tx) => this.close(tx, archive));
    };
    await this.archives.hold(archiveId, 'retention', remove, signal);
  }

  /**
   * Of an archive that has ended here: the second copy goes as soon as its keeper's own terms are over. Safe to repeat;
   * until it is done the row names the second site.
   *
   * @throws PeerUnreachableError, PeerRefusedError
   */
  async endCopy(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const over = await this.copies.end(archive, signal);
    const retryAt = over ? null : new Date(this.clock.now().getTime() + RETAINED_MS);
    await this.work.run(async (tx) => {
      await tx.execute(
        `UPDATE archive SET second = CASE WHEN $2 THEN NULL ELSE second END, failure = NULL, retry_at = $3,
                version = version + 1 WHERE archive_id = $1 AND state = 'ended'`,
        [archive.archiveId, over, retryAt],
      );
      await this.archives.tell(tx, archive.archiveId);
    });
  }

  private async isOver({ archiveId, policy, formerRetention }: ArchiveRow): Promise<boolean> {
    const [left] = await this.work.run((tx) =>
      tx.query<{ newest: Date | null; held: boolean; ageSeconds: number }>(
        `SELECT max(s.received_at) AS newest,
                v.held_because IS NOT NULL
                  OR coalesce(bool_or(p.held_because IS NOT NULL AND p.forgotten_at IS NULL), false) AS held,
                v.minimum_age_seconds AS "ageSeconds"
           FROM vault_repository v
           LEFT JOIN vault_snapshot s ON s.repository_id = v.repository_id
           LEFT JOIN archive_point p ON p.archive_id = v.repository_id AND p.snapshot_id = s.snapshot_id
          WHERE v.repository_id = $1 GROUP BY v.repository_id`,
        [archiveId],
      ),
    );
    if (!left || left.held) return false;
    if (left.newest === null) return true;
    const now = this.clock.now();
    const retention = retentionNow(policy, formerRetention, now);
    const keptMs = Math.max(longestDays(retention) * DAY_MS, left.ageSeconds * 1_000);
    return now.getTime() > left.newest.getTime() + keptMs;
  }

  private async close(tx: SiteTransaction, archive: ArchiveRow): Promise<void> {
    const { archiveId } = archive;
    for (const { snapshotId } of await this.parts.points.list(tx, archiveId)) {
      await markForgotten(tx, this.parts.points, archiveId, snapshotId, 'retention');
    }
    for (const key of await this.parts.keys.of(tx, archiveId)) await this.parts.keys.retire(tx, key);
    await tx.execute(
      `UPDATE vault_credential SET ends_at = clock_timestamp()
        WHERE repository_id = $1 AND (ends_at IS NULL OR ends_at > clock_timestamp())`,
      [archiveId],
    );
    await this.parts.usage.stored(tx, archive, 0);
    await tx.execute(
      `UPDATE archive SET state = 'ended', next_run_at = NULL, failure = NULL, version = version + 1 WHERE archive_id = $1`,
      [archiveId],
    );
    await this.archives.tell(tx, archiveId);
  }
}

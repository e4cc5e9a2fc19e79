import { lchown, mkdir, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { Failure } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { keptDirectory } from '#libs/platform/postgres';
import { JobQueue } from '#libs/platform/queue';
import type { ArchiveRow } from '../archive.row.js';
import { ARCHIVE_SETTINGS, type ArchiveSettings } from '../archive-settings.js';
import { standingCopyJob } from '../archives.jobs.js';
import { Archives } from '../archives.service.js';
import { type PointRow, Points } from '../points/points.service.js';
import { SiteRestic } from '../restic/site-restic.js';
import { bytesIn, openFolders, removeNote, writeNote } from './standing-files.js';

const RETRY_MS = 600_000;
/** Of the disk so much stays free: standbys and the vault write to it. */
const FREE_SHARE = 0.05;

class NoRoomError extends DomainError {
  constructor(bytes: number) {
    super(
      'unavailable',
      'archive.no-room',
      `The site has no room to lay ${bytes} bytes out as files. The recovery point itself is kept.`,
    );
  }
}

const wanted = ({ source, keyMode, policy, state }: ArchiveRow): boolean =>
  source === 'files' &&
  keyMode === 'escrowed' &&
  policy.standingCopy !== false &&
  state !== 'ended' &&
  state !== 'ending';

interface There {
  readonly snapshotId: string | null;
  readonly layingOut: string | null;
}

/**
 * The newest recovery point of a folder as files at the site, kept up to date after each run: a failover finds them there.
 * restic only writes what differs, and removes what is gone, so that meanwhile the files are no recovery point; the row, and a
 * note beside the folder, say so before the first file changes. (A second folder to rename would take the room twice, for
 * restic writes into the files that are there.) All of it belongs to the user as whom restic runs, whatever it
 * was at the agency: a file of the agency's must not become one of root's here.
 */
@Injectable()
export class StandingCopies {
  private readonly busy = new Set<string>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly restic: SiteRestic,
    private readonly queue: JobQueue,
    private readonly clock: Clock,
    @Inject(ARCHIVE_SETTINGS) private readonly settings: ArchiveSettings,
  ) {}

  /** Those whose wake-up was lost, or that failed a while ago, and those to take away. */
  async wakeDue(): Promise<void> {
    const due = await this.work.run((tx) =>
      tx.query<{ archiveId: string }>(
        `SELECT a.archive_id AS "archiveId" FROM archive a LEFT JOIN archive_standing s USING (archive_id)
          WHERE a.source = 'files' AND a.key_mode = 'escrowed'
            AND (s.retry_at IS NULL OR s.retry_at <= $1)
            AND CASE WHEN a.state IN ('ending', 'ended') OR a.policy -> 'standingCopy' = 'false'::jsonb
                THEN s.archive_id IS NOT NULL
                ELSE s.snapshot_id IS DISTINCT FROM (
                  SELECT p.snapshot_id FROM archive_point p
                   WHERE p.archive_id = a.archive_id AND p.forgotten_at IS NULL AND p.run_id IS NOT NULL
                   ORDER BY p.received_at DESC, p.snapshot_id LIMIT 1) END
            AND EXISTS (SELECT FROM archive_point p WHERE p.archive_id = a.archive_id)`,
        [this.clock.now()],
      ),
    );
    for (const { archiveId } of due) await this.queue.add(standingCopyJob, { archiveId }, { key: archiveId });
  }

  /**
   * Safe to repeat; does nothing while it is at it already, or two would write into the same files. What fails is written down,
   * and tried again later.
   */
  async refresh(archiveId: string, signal: AbortSignal): Promise<void> {
    if (this.busy.has(archiveId)) return;
    this.busy.add(archiveId);
    try {
      await this.refreshOnce(archiveId, signal);
    } finally {
      this.busy.delete(archiveId);
    }
  }

  private async refreshOnce(archiveId: string, signal: AbortSignal): Promise<void> {
    const { archive, point, there } = await this.work.run(async (tx) => {
      const [row] = await tx.query<There>(
        `SELECT snapshot_id AS "snapshotId", laying_out AS "layingOut" FROM archive_standing WHERE archive_id = $1`,
        [archiveId],
      );
      const points = await this.points.list(tx, archiveId);
      return {
        archive: await this.archives.find(tx, archiveId),
        // One that no run told of may be anybody's: it is not what a failover should find.
        point: points.find(({ runId }) => runId !== null),
        there: row,
      };
    });
    if (!archive) return;
    if (!wanted(archive)) return this.remove(archiveId);
    if (!point || there?.snapshotId === point.snapshotId) return;
    try {
      await this.layOut(archive, point, there, signal);
      const { snapshotId, receivedAt } = point;
      await writeNote(this.folder(archiveId), { state: 'whole', snapshotId, receivedAt });
      await this.note(archiveId, point, null);
    } catch (error) {
      if (signal.aborted || !(error instanceof DomainError)) throw error;
      await this.note(archiveId, undefined, { code: error.code, message: error.message });
    }
  }

  private async layOut(
    { archiveId }: ArchiveRow,
    point: PointRow,
    there: There | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const folder = this.folder(archiveId);
    const files = path.join(folder, 'files');
    for (const parent of [this.settings.directory, path.dirname(folder)]) await keptDirectory(parent);
    for (const each of [folder, files]) {
      await mkdir(each, { recursive: true, mode: 0o700 });
      const owner = this.restic.identity();
      if (owner) await lchown(each, owner.uid, owner.gid);
    }
    const disk = await statfs(files);
    const free = disk.bavail * disk.bsize - disk.blocks * disk.bsize * FREE_SHARE;
    // A later one writes only what differs; how much that is, nobody knows before.
    const bytes = there?.snapshotId ? 0 : (point.bytes ?? 0);
    if (bytes > free + (there?.layingOut ? await bytesIn(files) : 0)) throw new NoRoomError(point.bytes ?? 0);
    await this.begin(archiveId, point);
    await openFolders(files);
    const args = ['restore', point.snapshotId, '--target', files, '--overwrite', 'if-changed', '--delete', '--no-lock'];
    await this.restic.run(archiveId, args, { role: 'read', purpose: 'keeping the files ready at the site', signal });
  }

  /** From here on the files are no recovery point, and everybody can know: whoever fails over in between, too. */
  private async begin(archiveId: string, { snapshotId, receivedAt }: PointRow): Promise<void> {
    await writeNote(this.folder(archiveId), { state: 'being laid out', snapshotId, receivedAt });
    await this.work.run(async (tx) => {
      await tx.execute(
        `INSERT INTO archive_standing (archive_id, path, laying_out) VALUES ($1, $2, $3)
         ON CONFLICT (archive_id) DO UPDATE
           SET path = excluded.path, laying_out = excluded.laying_out, snapshot_id = NULL, received_at = NULL,
               restored_at = NULL`,
        [archiveId, path.join(this.folder(archiveId), 'files'), snapshotId],
      );
      await this.archives.tell(tx, archiveId);
    });
  }

  private async remove(archiveId: string): Promise<void> {
    await removeNote(this.folder(archiveId));
    await rm(this.folder(archiveId), { recursive: true, force: true });
    await this.work.run(async (tx) => {
      const removed = await tx.execute(`DELETE FROM archive_standing WHERE archive_id = $1`, [archiveId]);
      if (removed > 0) await this.archives.tell(tx, archiveId);
    });
  }

  private async note(archiveId: string, point: PointRow | undefined, failure: Failure | null): Promise<void> {
    const now = this.clock.now();
    await this.work.run(async (tx) => {
      await tx.execute(
        `INSERT INTO archive_standing (archive_id, path, snapshot_id, received_at, restored_at, failure, retry_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (archive_id) DO UPDATE
           SET path = excluded.path, snapshot_id = coalesce(excluded.snapshot_id, archive_standing.snapshot_id),
               received_at = coalesce(excluded.received_at, archive_standing.received_at),
               restored_at = coalesce(excluded.restored_at, archive_standing.restored_at),
               laying_out = CASE WHEN excluded.snapshot_id IS NULL THEN archive_standing.laying_out END,
               failure = excluded.failure, retry_at = excluded.retry_at`,
        [
          archiveId,
          path.join(this.folder(archiveId), 'files'),
          point?.snapshotId ?? null,
          point?.receivedAt ?? null,
          point ? now : null,
          failure && JSON.stringify(failure),
          failure ? new Date(now.getTime() + RETRY_MS) : null,
        ],
      );
      await this.archives.tell(tx, archiveId);
    });
  }

  private folder(archiveId: string): string {
    return path.join(this.settings.directory, 'standing', archiveId);
  }
}

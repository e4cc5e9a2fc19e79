import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { archiveResult } from '#contracts/archive';
import { pause } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { errorText, NotFoundError } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { SiteOutbox } from '#libs/sites/site';
import { ArchiveReports } from './archive-report.js';
import { ARCHIVE_COLUMNS, type ArchiveRow, type WorkKind } from './archive.row.js';

/** How long a repository stays a dead process's. A living one renews it three times in it. */
const HELD_SECONDS = 30;

/** The archives of this site, and whose each repository is at the moment. */
@Injectable()
export class Archives {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly outbox: SiteOutbox,
    private readonly reports: ArchiveReports,
    private readonly logger: AppLogger,
  ) {}

  async find(tx: SiteTransaction, archiveId: string): Promise<ArchiveRow | undefined> {
    const [row] = await tx.query<ArchiveRow>(`SELECT ${ARCHIVE_COLUMNS} FROM archive WHERE archive_id = $1`, [
      archiveId,
    ]);
    return row;
  }

  /** @throws NotFoundError */
  async get(tx: SiteTransaction, archiveId: string): Promise<ArchiveRow> {
    const row = await this.find(tx, archiveId);
    if (!row) throw new NotFoundError('archive');
    return row;
  }

  /** The same, and nobody else changes it before this transaction ends. @throws NotFoundError */
  async lock(tx: SiteTransaction, archiveId: string): Promise<ArchiveRow> {
    await tx.query(`SELECT FROM archive WHERE archive_id = $1 FOR UPDATE`, [archiveId]);
    return this.get(tx, archiveId);
  }

  /**
   * Whether the repository is now this work's; asked again by the same work, yes. It stays so until {@link release},
   * whatever dies: for work that rows know of, and a sweep goes on with. For work of this process alone see {@link hold}.
   */
  take(archiveId: string, kind: WorkKind, workId: string): Promise<boolean> {
    return this.work.run((tx) => this.takeIn(tx, archiveId, kind, workId, null));
  }

  /** {@link take} in a transaction of the caller's. @param seconds null: until it is released */
  async takeIn(
    tx: SiteTransaction,
    archiveId: string,
    kind: WorkKind,
    workId: string,
    seconds: number | null,
  ): Promise<boolean> {
    const taken = await tx.execute(
      `UPDATE archive SET work_id = $3, work_kind = $2, work_until = clock_timestamp() + make_interval(secs => $4)
        WHERE archive_id = $1 AND state <> 'ended'
          AND (work_id IS NULL OR work_id = $3 OR work_until < clock_timestamp())`,
      [archiveId, kind, workId, seconds],
    );
    return taken === 1;
  }

  /** Safe to repeat. */
  async release(archiveId: string, workId: string): Promise<void> {
    await this.work.run((tx) => this.releaseIn(tx, archiveId, workId));
  }

  async releaseIn(tx: SiteTransaction, archiveId: string, workId: string): Promise<void> {
    await tx.execute(
      `UPDATE archive SET work_id = NULL, work_kind = NULL, work_until = NULL WHERE archive_id = $1 AND work_id = $2`,
      [archiveId, workId],
    );
  }

  /**
   * Runs `work` while the repository is nobody else's. Killed in the midst of it, the repository is free half a minute
   * later. The signal is aborted when it could not be kept.
   *
   * @returns undefined when it is another's now
   */
  async hold<T>(
    archiveId: string,
    kind: WorkKind,
    work: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T | undefined> {
    const workId = randomUUID();
    const keep = () => this.work.run((tx) => this.takeIn(tx, archiveId, kind, workId, HELD_SECONDS));
    if (!(await keep())) return undefined;
    const over = new AbortController();
    const lost = new AbortController();
    const renewing = this.renew(keep, over.signal, lost);
    try {
      return await work(AbortSignal.any([signal, lost.signal]));
    } finally {
      over.abort();
      await renewing;
      await this.release(archiveId, workId);
    }
  }

  private async renew(keep: () => Promise<boolean>, over: AbortSignal, lost: AbortController): Promise<void> {
    for (let failed = 0; ;) {
      await pause((HELD_SECONDS * 1_000) / 3, over);
      if (over.aborted) return;
      try {
        if (!(await keep())) return lost.abort(new Error('the repository was taken by other work'));
        failed = 0;
      } catch (error) {
        failed += 1;
        this.logger.log.warn({ reason: errorText(error) }, 'a repository could not be kept');
        if (failed > 1) return lost.abort(new Error('the repository could not be kept'));
      }
    }
  }

  /** Tells the control plane all that it should know of the archive, as it is in this transaction. */
  async tell(tx: SiteTransaction, archiveId: string): Promise<void> {
    const row = await this.find(tx, archiveId);
    if (!row) return;
    await this.outbox.emit(tx, archiveResult, { tenantId: row.tenantId }, await this.reports.of(tx, row));
  }
}

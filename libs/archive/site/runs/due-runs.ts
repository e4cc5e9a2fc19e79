import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { Archives } from '../archives.service.js';
import { advanceRunJob } from '../archives.jobs.js';
import { Runs } from './runs.service.js';
import { nextDue } from './schedule.js';
import { findWork, RUNS } from './work.row.js';

/** So many in one look: the next comes in seconds. */
const AT_ONCE = 200;

/** Begins the runs that are due. */
@Injectable()
export class DueRuns {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly runs: Runs,
    private readonly clock: Clock,
    private readonly queue: JobQueue,
  ) {}

  /**
   * The run's row and the time of the next one are written at once. However many were missed, one catches up: the next is
   * the first after now. While a run of the archive has not ended, what is due waits for it.
   */
  async begin(): Promise<void> {
    const due = await this.work.run((tx) =>
      tx.query<{ archiveId: string }>(
        `SELECT archive_id AS "archiveId" FROM archive a
          WHERE state = 'active' AND NOT paused AND next_run_at <= $1
            AND NOT EXISTS (SELECT FROM archive_run r WHERE r.archive_id = a.archive_id AND r.ended_at IS NULL)
          ORDER BY next_run_at LIMIT $2`,
        [this.clock.now(), AT_ONCE],
      ),
    );
    for (const { archiveId } of due) await this.beginOne(archiveId);
  }

  private async beginOne(archiveId: string): Promise<void> {
    await this.work.run(async (tx) => {
      const archive = await this.archives.lock(tx, archiveId);
      const now = this.clock.now();
      const { nextRunAt } = archive;
      if (archive.state !== 'active' || archive.paused || nextRunAt === null || nextRunAt > now) return;
      const runId = randomUUID();
      const made = await tx.execute(
        `INSERT INTO archive_run (run_id, archive_id, cause, state, due_at)
         SELECT $1, $2, 'schedule', 'waiting', $3
          WHERE NOT EXISTS (SELECT FROM archive_run WHERE archive_id = $2 AND ended_at IS NULL)`,
        [runId, archiveId, nextRunAt],
      );
      if (made === 0) return;
      await tx.execute(`UPDATE archive SET next_run_at = $2, version = version + 1 WHERE archive_id = $1`, [
        archiveId,
        nextDue(archive.policy, archiveId, now),
      ]);
      const row = await findWork(tx, RUNS, runId);
      if (row) await this.runs.tell(tx, archive, row);
      await this.archives.tell(tx, archiveId);
      tx.afterCommit(() => this.queue.wake(advanceRunJob, { runId }));
    });
  }
}

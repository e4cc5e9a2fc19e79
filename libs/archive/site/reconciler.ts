import { Injectable } from '@nestjs/common';
import { archiveCheckCommand, type Failure } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { AgentCommands } from '#libs/sites/site';
import type { ArchiveRow } from './archive.row.js';
import { failureOf } from './archives.errors.js';
import { Archives } from './archives.service.js';
import { Ending } from './ending.js';
import { Rotations } from './keys/rotations.js';
import { afterQuiet, nextDue } from './runs/schedule.js';

/** Between two attempts to prepare an archive. */
const RETRY_SECONDS = 30;
const CHECK_MS = 60_000;

/** Brings archives to where their rows want them: ready for their first run, paused, or ended. */
@Injectable()
export class ArchiveReconciler {
  private readonly driving = new Set<string>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly keys: Rotations,
    private readonly commands: AgentCommands,
    private readonly ending: Ending,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  /** Safe to repeat, and at once. */
  async reconcile(archiveId: string, signal: AbortSignal): Promise<void> {
    if (this.driving.has(archiveId)) return;
    this.driving.add(archiveId);
    try {
      const archive = await this.work.run((tx) => this.archives.find(tx, archiveId));
      if (!archive) return;
      if (archive.state === 'preparing' || archive.state === 'failed') await this.prepare(archive, signal);
      else if (archive.state === 'active' || archive.state === 'paused') await this.settle(archive);
      else if (archive.state === 'ending') await this.ending.advance(archive, signal);
      else if (archive.second !== null) await this.ending.endCopy(archive, signal);
      if (archive.rotationId !== null) await this.keys.rotate(archive, archive.rotationId, signal);
      if (archive.failure !== null) await this.mended(archive, archive.failure);
    } catch (error) {
      if (signal.aborted) return;
      await this.failed(archiveId, error);
    } finally {
      this.driving.delete(archiveId);
    }
  }

  private async prepare(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const blocked = await this.checkAgent(archive, signal);
    if (blocked) return this.tellFailure(archive.archiveId, blocked);
    await this.keys.ensure(archive, signal);
    await this.work.run(async (tx) => {
      const first = afterQuiet(archive.policy, archive.archiveId, this.clock.now());
      await tx.execute(
        `UPDATE archive SET state = CASE WHEN paused THEN 'paused' ELSE 'active' END, failure = NULL, retry_at = NULL,
                next_run_at = CASE WHEN paused THEN NULL ELSE coalesce(next_run_at, $2) END, version = version + 1
          WHERE archive_id = $1 AND state IN ('preparing', 'failed')`,
        [archive.archiveId, first],
      );
      await this.archives.tell(tx, archive.archiveId);
    });
    this.logger.log.info({ archiveId: archive.archiveId }, 'an archive is ready');
  }

  /** What keeps the agent from archiving, in its own words; undefined when nothing does. */
  private async checkAgent(archive: ArchiveRow, signal: AbortSignal): Promise<Failure | undefined> {
    const { workloadId, workloadName, source, keyMode } = archive;
    const input = { workloadId, workloadName, source, keyMode };
    const ways = { timeoutMs: CHECK_MS, signal };
    const { findings } = await this.commands.call(archive.agentId, archiveCheckCommand, input, ways);
    const blocker = findings.find(({ severity }) => severity === 'blocker');
    return blocker && { code: blocker.code, message: `${blocker.what} ${blocker.remedy}`.trim() };
  }

  /** The state follows what is wanted; the next run is that of the schedule, also of one that was missed meanwhile. */
  private async settle({ archiveId }: ArchiveRow): Promise<void> {
    await this.work.run(async (tx) => {
      const row = await this.archives.lock(tx, archiveId);
      if (row.state !== 'active' && row.state !== 'paused') return;
      const state = row.paused ? 'paused' : 'active';
      if (row.state === state && (row.paused || row.nextRunAt !== null)) return;
      const [last] = await tx.query<{ at: Date }>(
        `SELECT max(due_at) AS at FROM archive_run WHERE archive_id = $1 AND cause = 'schedule' HAVING count(*) > 0`,
        [archiveId],
      );
      const now = this.clock.now();
      const next = last ? nextDue(row.policy, archiveId, last.at) : now;
      const due = next > now ? next : afterQuiet(row.policy, archiveId, now);
      await tx.execute(`UPDATE archive SET state = $2, next_run_at = $3, version = version + 1 WHERE archive_id = $1`, [
        archiveId,
        state,
        row.paused ? null : due,
      ]);
      await this.archives.tell(tx, archiveId);
    });
  }

  private async failed(archiveId: string, error: unknown): Promise<void> {
    const known = error instanceof DomainError;
    this.logger.log.warn(
      { archiveId, reason: known ? (error.detail ?? error.message) : errorText(error) },
      'an archive could not be brought on; it is tried again',
    );
    await this.tellFailure(archiveId, failureOf(error));
  }

  /** What stood in the way does not any more; not while a rotation waits, of which it may have been. */
  private async mended({ archiveId }: ArchiveRow, failure: Failure): Promise<void> {
    await this.work.run(async (tx) => {
      const cleared = await tx.execute(
        `UPDATE archive SET failure = NULL, retry_at = NULL, version = version + 1
          WHERE archive_id = $1 AND failure = $2 AND rotation_id IS NULL AND state IN ('active', 'paused', 'ending')`,
        [archiveId, JSON.stringify(failure)],
      );
      if (cleared > 0) await this.archives.tell(tx, archiveId);
    });
  }

  private async tellFailure(archiveId: string, failure: Failure): Promise<void> {
    await this.work.run(async (tx) => {
      const before = await this.archives.lock(tx, archiveId);
      await tx.execute(
        `UPDATE archive SET failure = $2, retry_at = $3, state = CASE state WHEN 'preparing' THEN 'failed' ELSE state END,
                version = version + 1 WHERE archive_id = $1`,
        [archiveId, JSON.stringify(failure), new Date(this.clock.now().getTime() + RETRY_SECONDS * 1_000)],
      );
      if (before.failure?.code !== failure.code || before.state === 'preparing')
        await this.archives.tell(tx, archiveId);
    });
  }
}

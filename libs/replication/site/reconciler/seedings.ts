import { Inject, Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { JobQueue } from '#libs/platform/queue';
import type { BackupTransport } from '#libs/platform/postgres/backup';
import { SITE_DRIVER, type SeedProgress, type SiteDriver } from '#libs/sites/site';
import { Claims } from '../claims.js';
import { reconcileStandbyJob } from '../replication.jobs.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { Faults } from './faults.js';
import { SeedSources } from './seed-sources.js';

const PROGRESS_MS = 1_000;

/** What the copies need of the process around them. */
@Injectable()
export class SeedingOutside {
  constructor(
    @Inject(SITE_DRIVER) readonly driver: SiteDriver,
    readonly queue: JobQueue,
    readonly clock: Clock,
    readonly logger: AppLogger,
  ) {}
}

/**
 * The copies that are under way in this process. A copy may take days: it holds the standby's claim, not a job, and what
 * it has is on disk, so that a process killed with -9 goes on where it was.
 */
@Injectable()
export class Seedings implements BeforeApplicationShutdown {
  private readonly running = new Map<string, { readonly abort: AbortController; readonly ended: Promise<void> }>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly sources: SeedSources,
    private readonly claims: Claims,
    private readonly faults: Faults,
    private readonly outside: SeedingOutside,
  ) {}

  /** Nothing to do when the copy is under way, here or in another process. */
  start(workloadId: string): void {
    if (this.running.has(workloadId)) return;
    const abort = new AbortController();
    const ended = this.claims
      .hold(`standby/${workloadId}`, (signal) => this.run(workloadId, signal), { signal: abort.signal })
      .then(() => undefined)
      .catch((error: unknown) => this.outside.logger.log.warn({ err: error, workloadId }, 'seeding was interrupted'))
      .finally(() => {
        this.running.delete(workloadId);
        if (!abort.signal.aborted) this.outside.queue.wake(reconcileStandbyJob, { workloadId });
      });
    this.running.set(workloadId, { abort, ended });
  }

  /** Ends the copy, because what is wanted has changed; what was copied stays and is used again. */
  async interrupt(workloadId: string): Promise<void> {
    const seeding = this.running.get(workloadId);
    seeding?.abort.abort(new Error('what is wanted of this standby has changed'));
    await seeding?.ended;
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([...this.running.keys()].map((workloadId) => this.interrupt(workloadId)));
  }

  private async run(workloadId: string, signal: AbortSignal): Promise<void> {
    const standby = await this.work.run((tx) => this.standbys.find(tx, workloadId));
    if (!standby || standby.state !== 'seeding' || standby.removing || standby.paused || standby.hold) return;
    try {
      const source = await this.sources.choose(standby, signal);
      await this.copy(standby, source.transport, source.from, signal);
      await this.work.run(async (tx) => {
        const now = await this.standbys.lock(tx, workloadId);
        await this.standbys.change(tx, now, {
          state: 'catching-up',
          changes: { retries: 0, retryAt: null, followWanted: true },
        });
      });
    } catch (error) {
      if (signal.aborted) return;
      await this.faults.record(workloadId, error);
    }
  }

  private async copy(
    standby: Standby,
    transport: BackupTransport,
    from: 'agency' | 'peer',
    signal: AbortSignal,
  ): Promise<void> {
    const attempt = (standby.seeding?.attempt ?? 0) + 1;
    let written = 0;
    let writing = Promise.resolve();
    const onProgress = (progress: SeedProgress) => {
      const now = this.outside.clock.monotonic();
      if (now - written < PROGRESS_MS && progress.bytesDone < progress.bytesTotal) return;
      written = now;
      const { bytesTotal, bytesDone, bytesTransferred, bytesPerSecond, secondsLeft } = progress;
      const record = { bytesTotal, bytesDone, bytesTransferred, bytesPerSecond, secondsLeft, attempt, from };
      writing = writing.then(() => this.note(standby.workloadId, record));
    };
    await this.outside.driver.seed(standby.workloadId, transport, {
      label: `${standby.role}-${standby.workloadId}`,
      ...(standby.bandwidthBytesPerSecond === null ? {} : { bandwidthBytesPerSecond: standby.bandwidthBytesPerSecond }),
      signal,
      onProgress,
    });
    await writing;
  }

  /** Progress is no change of state: it neither counts as one nor fails the copy. */
  private async note(workloadId: string, record: object): Promise<void> {
    try {
      await this.work.run((tx) =>
        tx.execute('UPDATE standby SET seeding = $2 WHERE workload_id = $1', [workloadId, JSON.stringify(record)]),
      );
    } catch (error) {
      this.outside.logger.log.warn({ err: error, workloadId }, 'progress of a seeding was not written');
    }
  }
}

import type { OnApplicationBootstrap } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { Standbys } from '#libs/replication/site';
import { advanceRunJob, repointOtherSiteJob, resumeRunJob, sweepRepointsJob, sweepRunsJob } from '../failover.jobs.js';
import { OtherSite } from '../other-site.js';
import { RunEngine } from './run-engine.js';
import { Runs } from './runs.service.js';

@Handles(advanceRunJob)
export class AdvanceRunHandler implements JobHandler<{ runId: string }> {
  constructor(private readonly engine: RunEngine) {}

  async handle({ runId }: { runId: string }, signal: AbortSignal): Promise<void> {
    await this.engine.advance(runId, signal);
  }
}

@Handles(resumeRunJob)
export class ResumeRunHandler implements JobHandler<{ runId: string }> {
  constructor(private readonly engine: RunEngine) {}

  async handle({ runId }: { runId: string }, signal: AbortSignal): Promise<void> {
    await this.engine.advance(runId, signal);
  }
}

/** Finds the runs that nobody drives: their wake-up was lost, or their process died. */
@Handles(sweepRunsJob)
export class SweepRunsHandler implements JobHandler<Record<string, never>>, OnApplicationBootstrap {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly queue: JobQueue,
    private readonly engine: RunEngine,
  ) {}

  /** A process that was killed in the middle of a run goes on with it as soon as it is back. */
  async onApplicationBootstrap(): Promise<void> {
    await this.handle();
  }

  async handle(): Promise<void> {
    const runs = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT id FROM failover_run WHERE state IN ('accepted', 'running', 'cancelling') ORDER BY received_at`,
      ),
    );
    for (const { id } of runs) {
      if (this.engine.isDriving(id) || this.engine.isWaiting(id)) continue;
      // By its key a run that waits for its turn is not added again each second.
      const job = this.engine.hasFailed(id) ? resumeRunJob : advanceRunJob;
      await this.queue.add(job, { runId: id }, { key: id });
    }
  }
}

@Handles(repointOtherSiteJob)
export class RepointOtherSiteHandler implements JobHandler<{ runId: string }> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly standbys: Standbys,
    private readonly other: OtherSite,
  ) {}

  async handle({ runId }: { runId: string }, signal: AbortSignal): Promise<void> {
    const { run, standby } = await this.work.run(async (tx) => {
      const found = await this.runs.find(tx, runId);
      return { run: found, standby: found && (await this.standbys.find(tx, found.workloadId)) };
    });
    if (!run || run.repoint !== 'pending') return;
    // Removed, or promoted anew since: this run has nobody to turn any more.
    if (!standby || standby.state !== 'primary' || standby.epoch !== run.epoch) {
      await this.work.run((tx) => this.runs.learn(tx, runId, { repoint: 'none' }));
      return;
    }
    // The other site was promoted after this one: it asks this one to follow, not the other way round.
    if (standby.hold !== null) return;
    const { following } = await this.other.repoint(run, standby, signal);
    if (following) await this.work.run((tx) => this.runs.learn(tx, runId, { repoint: 'done' }));
  }
}

@Handles(sweepRepointsJob)
export class SweepRepointsHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly queue: JobQueue,
    private readonly standbys: Standbys,
    private readonly runs: Runs,
    private readonly other: OtherSite,
    private readonly logger: AppLogger,
  ) {}

  async handle(): Promise<void> {
    await this.notice();
    const runs = await this.work.run((tx) =>
      tx.query<{ id: string }>(`SELECT id FROM failover_run WHERE repoint = 'pending' AND state = 'completed'`),
    );
    for (const { id } of runs) await this.queue.add(repointOtherSiteJob, { runId: id }, { key: id });
  }

  /** Who follows this site is its to look after: nobody else could give it a new password. */
  private async notice(): Promise<void> {
    const turned = await this.work.run((tx) =>
      tx.query<{ id: string; workload_id: string }>(
        `SELECT r.id, r.workload_id FROM failover_run r JOIN standby s USING (workload_id)
          WHERE r.repoint = 'done' AND r.state = 'completed' AND s.state = 'primary' AND s.epoch = r.epoch
            AND s.hold IS NULL`,
      ),
    );
    for (const { id, workload_id: workloadId } of turned) {
      const standby = await this.work.run((tx) => this.standbys.find(tx, workloadId));
      try {
        if (!standby || (await this.other.follows(standby))) continue;
        await this.work.run((tx) => this.runs.learn(tx, id, { repoint: 'pending' }));
      } catch (error) {
        this.logger.log.info({ workloadId, reason: errorText(error) }, 'who follows this site is not known now');
      }
    }
  }
}

import type { OnApplicationBootstrap } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { Standbys } from '#libs/replication/site';
import { advanceRunJob, repointOtherSiteJob, sweepRepointsJob, sweepRunsJob } from './failover.jobs.js';
import { OtherSite } from './other-site.js';
import { RunEngine } from './run-engine.js';
import { Runs } from './runs.service.js';

@Handles(advanceRunJob)
export class AdvanceRunHandler implements JobHandler<{ runId: string }> {
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
    for (const { id } of runs) if (!this.engine.isDriving(id)) await this.queue.add(advanceRunJob, { runId: id });
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
  ) {}

  async handle(): Promise<void> {
    const runs = await this.work.run((tx) =>
      tx.query<{ id: string }>(`SELECT id FROM failover_run WHERE repoint = 'pending' AND state = 'completed'`),
    );
    for (const { id } of runs) await this.queue.add(repointOtherSiteJob, { runId: id }, { key: id });
  }
}

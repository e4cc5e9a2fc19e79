import { type OnApplicationBootstrap } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import {
  advanceRestoreJob,
  advanceRunJob,
  handExitJob,
  reconcileArchiveJob,
  standingCopyJob,
  sweepArchivesJob,
  sweepFactsJob,
  sweepWorkJob,
} from './archives.jobs.js';
import { Exits } from './exit/exits.service.js';
import { ArchiveFacts } from './facts/archive-facts.js';
import { ArchiveReconciler } from './reconciler.js';
import { Readers } from './retention/readers.js';
import { Restores } from './restores/restores.service.js';
import { DueRuns } from './runs/due-runs.js';
import { Runs } from './runs/runs.service.js';
import { WorkEngine } from './runs/work-engine.js';
import { StandingCopies } from './standing/standing-copies.js';

/** So many in one sweep: more than a site has at once, also where hundreds of agents are silent. */
const SWEPT = 5_000;

@Handles(reconcileArchiveJob)
export class ReconcileArchiveHandler implements JobHandler<{ archiveId: string }> {
  constructor(private readonly reconciler: ArchiveReconciler) {}

  handle({ archiveId }: { archiveId: string }, signal: AbortSignal): Promise<void> {
    return this.reconciler.reconcile(archiveId, signal);
  }
}

@Handles(advanceRunJob)
export class AdvanceRunHandler implements JobHandler<{ runId: string }> {
  constructor(
    private readonly engine: WorkEngine,
    private readonly runs: Runs,
  ) {}

  handle({ runId }: { runId: string }, signal: AbortSignal): Promise<void> {
    return this.engine.advance(this.runs, runId, signal);
  }
}

@Handles(advanceRestoreJob)
export class AdvanceRestoreHandler implements JobHandler<{ restoreId: string }> {
  constructor(
    private readonly engine: WorkEngine,
    private readonly restores: Restores,
  ) {}

  handle({ restoreId }: { restoreId: string }, signal: AbortSignal): Promise<void> {
    return this.engine.advance(this.restores, restoreId, signal);
  }
}

@Handles(handExitJob)
export class HandExitHandler implements JobHandler<{ exitId: string }> {
  constructor(private readonly exits: Exits) {}

  handle({ exitId }: { exitId: string }): Promise<void> {
    return this.exits.hand(exitId);
  }
}

@Handles(standingCopyJob)
export class StandingCopyHandler implements JobHandler<{ archiveId: string }> {
  constructor(
    private readonly copies: StandingCopies,
    private readonly readers: Readers,
  ) {}

  /** While the repository is pruned nothing is done: the sweep finds it again. */
  async handle({ archiveId }: { archiveId: string }, signal: AbortSignal): Promise<void> {
    await this.readers.read(archiveId, () => this.copies.refresh(archiveId, signal));
  }
}

/** Whatever is under way at an agent is looked at, the longest waiting first. */
@Handles(sweepWorkJob)
export class SweepWorkHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly queue: JobQueue,
  ) {}

  async handle(): Promise<void> {
    const open = await this.work.run((tx) =>
      tx.query<{ runId: string | null; restoreId: string | null }>(
        `SELECT run_id AS "runId", NULL AS "restoreId", due_at AS since FROM archive_run
          WHERE ended_at IS NULL OR credential_id IS NOT NULL
         UNION ALL
         SELECT NULL, restore_id, created_at FROM archive_restore WHERE ended_at IS NULL OR credential_id IS NOT NULL
         ORDER BY since LIMIT $1`,
        [SWEPT],
      ),
    );
    // By their keys those that wait for their turn are not added again.
    for (const { runId, restoreId } of open) {
      if (runId) await this.queue.add(advanceRunJob, { runId }, { key: runId });
      if (restoreId) await this.queue.add(advanceRestoreJob, { restoreId }, { key: restoreId });
    }
  }
}

@Handles(sweepArchivesJob)
export class SweepArchivesHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly queue: JobQueue,
    private readonly due: DueRuns,
    private readonly exits: Exits,
  ) {}

  async handle(): Promise<void> {
    await this.due.begin();
    for (const { exitId } of await this.exits.due()) await this.queue.add(handExitJob, { exitId }, { key: exitId });
    const unsettled = await this.work.run((tx) =>
      tx.query<{ archiveId: string }>(
        `SELECT archive_id AS "archiveId" FROM archive
          WHERE (retry_at IS NULL OR retry_at <= clock_timestamp())
            AND (state IN ('preparing', 'failed') OR (rotation_id IS NOT NULL AND state <> 'ended')
              OR (state = 'active' AND (paused OR next_run_at IS NULL)) OR (state = 'paused' AND NOT paused)
              OR (state = 'ended' AND second IS NOT NULL) OR (state IN ('active', 'paused') AND failure IS NOT NULL))
          ORDER BY retry_at NULLS FIRST LIMIT $1`,
        [SWEPT],
      ),
    );
    for (const { archiveId } of unsettled) await this.queue.add(reconcileArchiveJob, { archiveId }, { key: archiveId });
  }
}

@Handles(sweepFactsJob)
export class SweepFactsHandler implements JobHandler<Record<string, never>>, OnApplicationBootstrap {
  constructor(private readonly facts: ArchiveFacts) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.facts.sealAnew();
  }

  handle(_payload: Record<string, never>, signal: AbortSignal): Promise<void> {
    return this.facts.sweep(signal);
  }
}

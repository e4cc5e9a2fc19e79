import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { lookAtChangesJob, proveJob, sweepTendingJob, tendRetentionJob } from './care.jobs.js';
import { Changes } from './changes/changes.service.js';
import { ProofQueue } from './proof/proof-queue.js';
import { ProofService } from './proof/proof.service.js';
import { RetentionService } from './retention/retention.service.js';

/** How many archives one look wakes for each kind of care. */
const AT_ONCE = 50;

interface OfArchive {
  readonly archiveId: string;
}

@Handles(tendRetentionJob)
export class TendRetentionHandler implements JobHandler<OfArchive> {
  constructor(private readonly retention: RetentionService) {}

  handle({ archiveId }: OfArchive, signal: AbortSignal): Promise<void> {
    return this.retention.tend(archiveId, signal);
  }
}

@Handles(proveJob)
export class ProveHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly proofs: ProofService,
    private readonly jobs: JobQueue,
  ) {}

  async handle(_: Record<string, never>, signal: AbortSignal): Promise<void> {
    if (await this.proofs.proveNext(signal)) await this.jobs.add(proveJob, {});
  }
}

@Handles(lookAtChangesJob)
export class LookAtChangesHandler implements JobHandler<OfArchive> {
  constructor(private readonly changes: Changes) {}

  handle({ archiveId }: OfArchive): Promise<void> {
    return this.changes.look(archiveId);
  }
}

@Handles(sweepTendingJob)
export class SweepTendingHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly jobs: JobQueue,
    private readonly retention: RetentionService,
    private readonly proofs: ProofQueue,
    private readonly changes: Changes,
  ) {}

  async handle(): Promise<void> {
    for (const archiveId of await this.changes.due(AT_ONCE)) {
      await this.jobs.add(lookAtChangesJob, { archiveId }, { key: archiveId });
    }
    if (await this.proofs.waits()) await this.jobs.add(proveJob, {}, { key: 'next' });
    for (const archiveId of await this.retention.due(AT_ONCE)) {
      await this.jobs.add(tendRetentionJob, { archiveId }, { key: archiveId });
    }
  }
}

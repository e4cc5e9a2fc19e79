import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { sweepTendingJob, tendRetentionJob } from './care.jobs.js';
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

@Handles(sweepTendingJob)
export class SweepTendingHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly jobs: JobQueue,
    private readonly retention: RetentionService,
  ) {}

  async handle(): Promise<void> {
    for (const archiveId of await this.retention.due(AT_ONCE)) {
      await this.jobs.add(tendRetentionJob, { archiveId }, { key: archiveId });
    }
  }
}

import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { Handles, type JobContract, type JobHandler, JobQueue } from '#libs/platform/queue';
import {
  checkArchiveJob,
  checkKeptCopyJob,
  copyArchiveJob,
  findJunkJob,
  lookAtChangesJob,
  proveJob,
  sweepRemovedJob,
  sweepTendingJob,
  tendRetentionJob,
} from './care.jobs.js';
import { Changes } from './changes/changes.service.js';
import { Checks } from './checks/checks.service.js';
import { JunkObjects } from './checks/junk-objects.js';
import { KeptCopies } from './checks/kept-copies.service.js';
import { Copies } from './copies/copies.service.js';
import { ProofQueue } from './proof/proof-queue.js';
import { ProofService } from './proof/proof.service.js';
import { BringingBack } from './retention/bringing-back.js';
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

@Handles(checkArchiveJob)
export class CheckArchiveHandler implements JobHandler<OfArchive> {
  constructor(private readonly checks: Checks) {}

  handle({ archiveId }: OfArchive, signal: AbortSignal): Promise<void> {
    return this.checks.check(archiveId, signal);
  }
}

@Handles(findJunkJob)
export class FindJunkHandler implements JobHandler<OfArchive> {
  constructor(private readonly junk: JunkObjects) {}

  handle({ archiveId }: OfArchive, signal: AbortSignal): Promise<void> {
    return this.junk.look(archiveId, signal);
  }
}

@Handles(copyArchiveJob)
export class CopyArchiveHandler implements JobHandler<OfArchive> {
  constructor(private readonly copies: Copies) {}

  handle({ archiveId }: OfArchive, signal: AbortSignal): Promise<void> {
    return this.copies.replicate(archiveId, signal);
  }
}

@Handles(checkKeptCopyJob)
export class CheckKeptCopyHandler implements JobHandler<OfArchive> {
  constructor(private readonly kept: KeptCopies) {}

  handle({ archiveId }: OfArchive, signal: AbortSignal): Promise<void> {
    return this.kept.check(archiveId, signal);
  }
}

/** Whoever finds archives to look after. */
@Injectable()
export class Dues {
  constructor(
    private readonly retention: RetentionService,
    private readonly changes: Changes,
    private readonly checks: Checks,
    private readonly copies: Copies,
    private readonly kept: KeptCopies,
    private readonly junk: JunkObjects,
  ) {}

  /** What is due, the urgent first. */
  async all(): Promise<readonly { readonly job: JobContract<OfArchive>; readonly archiveIds: readonly string[] }[]> {
    return [
      { job: lookAtChangesJob, archiveIds: await this.changes.due(AT_ONCE) },
      { job: findJunkJob, archiveIds: await this.junk.due(AT_ONCE) },
      { job: copyArchiveJob, archiveIds: await this.copies.due(AT_ONCE) },
      { job: tendRetentionJob, archiveIds: await this.retention.due(AT_ONCE) },
      { job: checkArchiveJob, archiveIds: await this.checks.due(AT_ONCE) },
      { job: checkKeptCopyJob, archiveIds: await this.kept.due(AT_ONCE) },
    ];
  }
}

@Handles(sweepRemovedJob)
export class SweepRemovedHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly bringing: BringingBack,
    private readonly clock: Clock,
  ) {}

  handle(_: Record<string, never>, signal: AbortSignal): Promise<void> {
    return this.bringing.sweep(this.clock.now(), signal);
  }
}

@Handles(sweepTendingJob)
export class SweepTendingHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly jobs: JobQueue,
    private readonly dues: Dues,
    private readonly proofs: ProofQueue,
  ) {}

  async handle(): Promise<void> {
    for (const { job, archiveIds } of await this.dues.all()) {
      for (const archiveId of archiveIds) await this.jobs.add(job, { archiveId }, { key: archiveId });
    }
    if (await this.proofs.waits()) await this.jobs.add(proveJob, {}, { key: 'next' });
  }
}

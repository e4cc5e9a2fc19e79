import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { withLogContext } from '#libs/platform/telemetry';
import { DoorCertificates } from '../certificates/door-certificates.js';
import { Claims } from '../claims.js';
import { StandbyChangedError } from '../replication.errors.js';
import { reconcileStandbyJob } from '../replication.jobs.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { Faults } from './faults.js';
import { Seedings } from './seedings.js';
import { type Outcome, REST } from './stage.js';
import { Stages } from './stages.js';

/** What the reconciler needs of the process around it, and what it does for a standby in every state. */
@Injectable()
export class ReconcilerSurroundings {
  constructor(
    readonly queue: JobQueue,
    readonly clock: Clock,
    readonly certificates: DoorCertificates,
  ) {}
}

/** More looks in one go than the way from nothing to streaming has: a circle ends here, and the sweep begins anew. */
const LOOKS = 24;

/**
 * Brings a standby step by step to what is wanted of it. One at a time for each workload; what a step has reached is in
 * the row, so that the next start goes on after kill -9.
 */
@Injectable()
export class Reconciler implements BeforeApplicationShutdown {
  private readonly timers = new Map<string, NodeJS.Timeout>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly stages: Stages,
    private readonly claims: Claims,
    private readonly seedings: Seedings,
    private readonly faults: Faults,
    private readonly around: ReconcilerSurroundings,
  ) {}

  async reconcile(workloadId: string, signal: AbortSignal): Promise<void> {
    const outcome = await withLogContext({ workloadId }, () =>
      this.claims.hold(`standby/${workloadId}`, (held) => this.advance(workloadId, held), { signal }),
    );
    if (outcome?.kind === 'seed') this.seedings.start(workloadId);
    if (outcome?.kind === 'again') this.later(workloadId, outcome.milliseconds);
  }

  beforeApplicationShutdown(): void {
    for (const timer of this.timers.values()) clearTimeout(timer);
  }

  /** One look for each standby at most is due: whoever else wakes it does not add to the looks to come. */
  private later(workloadId: string, milliseconds: number): void {
    if (this.timers.has(workloadId)) return;
    const timer = setTimeout(() => {
      this.timers.delete(workloadId);
      this.around.queue.wake(reconcileStandbyJob, { workloadId });
    }, milliseconds);
    this.timers.set(workloadId, timer);
  }

  private async advance(workloadId: string, signal: AbortSignal): Promise<Outcome> {
    for (let look = 0; look < LOOKS; look++) {
      if (signal.aborted) return REST;
      const standby = await this.work.run((tx) => this.standbys.find(tx, workloadId));
      if (!standby || this.isHeld(standby) || this.isPausing(standby)) return REST;
      // In whatever state: one that was promoted long ago serves clients by it, and one that is down starts with it.
      if (look === 0) await this.around.certificates.keep(workloadId);
      try {
        const outcome = await this.stages.of(standby).advance(standby, signal);
        if (outcome.kind !== 'moved') return outcome;
      } catch (error) {
        if (signal.aborted) return REST;
        if (error instanceof StandbyChangedError) continue;
        await this.faults.record(workloadId, error);
        return REST;
      }
    }
    return REST;
  }

  /** A failover run has the standby: here, or at the other site, which then lets go by itself at the latest. */
  private isHeld({ hold, holdUntil }: Standby): boolean {
    return hold !== null && (holdUntil === null || holdUntil > this.around.clock.now());
  }

  private isPausing({ retryAt }: Standby): boolean {
    return retryAt !== null && retryAt > this.around.clock.now();
  }
}

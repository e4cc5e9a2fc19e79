import { Inject } from '@nestjs/common';
import type { z } from 'zod';
import { peerResumeReceiving, peerStopReceiving } from '#contracts/failover';
import type { StandbyState } from '#contracts/replication';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import {
  ArmedLeases,
  Claims,
  contraryToOther,
  FrontDoors,
  mayBePromoted,
  reconcileStandbyJob,
  SourceReports,
  Standbys,
} from '#libs/replication/site';
import {
  type PeerCaller,
  type PeerCommandHandler,
  PeerHandler,
  SITE_DRIVER,
  type SiteDriver,
  type StandbyPosition,
} from '#libs/sites/site';
import { StaleEpochError } from '../failover.errors.js';
import { heldFor, keptAside, noteResumed, WITHOUT_LAPSE } from '../orders/stand-aside.row.js';
import { RunYielding } from '../runs/run-yielding.js';

type Input = z.infer<typeof peerStopReceiving.input>;
type Output = z.infer<typeof peerStopReceiving.output>;

/** If the promotion never comes, this site goes on receiving by itself, unless it was ordered to hold. */
const HELD_MS = 120_000;
/** The other site waits a second in all. */
const KILL_AFTER_MS = 400;

/** The other site is about to promote: this standby stops receiving and says what it has. */
@PeerHandler(peerStopReceiving)
export class StopReceivingHandler implements PeerCommandHandler<Input, Output> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly own: RunYielding,
    private readonly claims: Claims,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly doors: FrontDoors,
    private readonly clock: Clock,
  ) {}

  /** @throws StaleEpochError, RunConflictError when this site promotes the workload itself */
  async answer({ workloadId }: PeerCaller, { epoch }: Input, signal: AbortSignal): Promise<Output> {
    const { state, contrary, yielded } = await this.work.run(async (tx) => {
      const cancelled = await this.own.yieldTo(tx, workloadId, epoch);
      const standby = await this.standbys.lock(tx, workloadId);
      const aside = await keptAside(tx, standby);
      const known = aside?.epoch ?? standby.epoch + 1;
      if (epoch < known) throw new StaleEpochError(known, epoch);
      const lapse = new Date(this.clock.now().getTime() + HELD_MS);
      await this.standbys.change(tx, standby, {
        changes: { hold: heldFor(epoch), holdUntil: aside ? WITHOUT_LAPSE : lapse },
      });
      const report = await new SourceReports().of(tx, workloadId);
      return { state: standby.state, contrary: contraryToOther(standby.role, report), yielded: cancelled };
    });
    if (state !== 'primary' && !mayBePromoted(state)) {
      this.own.undo(yielded);
      return { receivedLsn: null, timeline: null, contrary };
    }
    const position = await this.claims.hold(`standby/${workloadId}`, () => this.stop(workloadId, state), {
      preempt: true,
      signal,
    });
    this.own.undo(yielded);
    const receivedLsn = position?.flushedLsn ?? position?.receivedLsn ?? null;
    return { receivedLsn, timeline: position?.timeline ?? null, contrary };
  }

  /** A primary of this site stops altogether: from now on the other site's epoch writes. */
  private async stop(workloadId: string, state: StandbyState): Promise<StandbyPosition> {
    if (state === 'primary') {
      await this.doors.lead(workloadId, 'closed');
      const position = await this.driver.position(workloadId);
      await this.driver.ensureStopped(workloadId);
      return position;
    }
    await this.driver.pauseReceiving(workloadId, KILL_AFTER_MS);
    return this.driver.position(workloadId);
  }
}

type ResumeInput = z.infer<typeof peerResumeReceiving.input>;
type ResumeOutput = z.infer<typeof peerResumeReceiving.output>;

@PeerHandler(peerResumeReceiving)
export class ResumeReceivingHandler implements PeerCommandHandler<ResumeInput, ResumeOutput> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly doors: FrontDoors,
    private readonly leases: ArmedLeases,
    private readonly queue: JobQueue,
  ) {}

  async answer({ workloadId }: PeerCaller, { epoch }: ResumeInput): Promise<ResumeOutput> {
    const resumed = await this.work.run(async (tx) => {
      const standby = await this.standbys.lock(tx, workloadId);
      // Without an end it is this site's own run that has it.
      if (standby.hold === null || standby.holdUntil === null) return undefined;
      const aside = await keptAside(tx, standby);
      if (aside && (aside.word === 'promoted' || epoch === undefined || epoch < aside.epoch)) return undefined;
      if (aside) await noteResumed(tx, workloadId);
      return this.standbys.change(tx, standby, { changes: { hold: null, holdUntil: null, followWanted: true } });
    });
    if (resumed) await this.leases.allow(workloadId);
    if (resumed?.state === 'primary') await this.doors.lead(workloadId, 'standby');
    this.queue.wake(reconcileStandbyJob, { workloadId });
    return { ok: true };
  }
}

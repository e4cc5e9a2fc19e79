import { Injectable } from '@nestjs/common';
import { peerResumeReceiving, runFinishedResult } from '#contracts/failover';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { JobQueue } from '#libs/platform/queue';
import { ArmedLeases, Forwarders, reconcileStandbyJob, type Standby, Standbys } from '#libs/replication/site';
import { PeerSites, SiteOutbox } from '#libs/sites/site';
import { heldFor, keptAside, WITHOUT_LAPSE } from '../orders/stand-aside.row.js';
import { reportOf } from './run-report.js';
import type { FailoverRun } from './run.row.js';
import { Runs } from './runs.service.js';

const PEER_MS = 1_000;

/** What cancelling talks to beside the rows. */
@Injectable()
export class CancellingReach {
  constructor(
    readonly leases: ArmedLeases,
    readonly forwarders: Forwarders,
    readonly peers: PeerSites,
    readonly queue: JobQueue,
    readonly outbox: SiteOutbox,
  ) {}
}

/** Undoes a run that has not promoted: leases are allowed again, and both standbys receive. Safe to repeat. */
@Injectable()
export class RunCancelling {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly standbys: Standbys,
    private readonly reach: CancellingReach,
    private readonly logger: AppLogger,
  ) {}

  async undo(run: FailoverRun, signal: AbortSignal): Promise<void> {
    const { hold, aside } = await this.work.run(async (tx) => {
      const standby = await this.standbys.get(tx, run.workloadId);
      return { hold: standby.hold, aside: await keptAside(tx, standby) };
    });
    // Not while the other site's run has this standby.
    if (isOwn(hold, run) && !aside) await this.reach.leases.allow(run.workloadId);
    const message = 'The failover was cancelled. Production goes on at the agency, and this site follows it again.';
    await this.end(run, 'cancelled', message, signal);
  }

  /** The same for a run that can come to nothing, because the workload was promoted elsewhere: leases stay refused. */
  async fail(run: FailoverRun, signal: AbortSignal): Promise<void> {
    const message =
      'The failover has failed: the workload has been promoted since it was declared. Look where it runs.';
    await this.end(run, 'failed', message, signal);
  }

  private async end(
    run: FailoverRun,
    state: 'cancelled' | 'failed',
    message: string,
    signal: AbortSignal,
  ): Promise<void> {
    await this.reach.forwarders.follow(run.workloadId, run.followed);
    await this.resumeOther(run, signal);
    await this.work.run(async (tx) => {
      const standby = await this.standbys.lock(tx, run.workloadId);
      const aside = await keptAside(tx, standby);
      const held = aside ? { hold: heldFor(aside.epoch), holdUntil: WITHOUT_LAPSE } : { hold: null, holdUntil: null };
      await this.standbys.change(tx, standby, {
        ...resumed(standby),
        changes: { ...(isOwn(standby.hold, run) ? held : {}), followWanted: true },
      });
      await this.runs.turn(tx, run, state, { message });
      await this.reach.outbox.emit(
        tx,
        runFinishedResult,
        { tenantId: run.tenantId, orderId: run.orderId },
        { state, report: reportOf(run), reason: message },
      );
      tx.afterCommit(() => this.reach.queue.wake(reconcileStandbyJob, { workloadId: run.workloadId }));
    });
  }

  /** Without an answer it lets go by itself. */
  private async resumeOther(run: FailoverRun, signal: AbortSignal): Promise<void> {
    if (!run.otherSite || run.otherAnswered === null) return;
    const { workloadId } = run;
    try {
      await this.reach.peers.call(
        { peer: run.otherSite, workloadId },
        peerResumeReceiving,
        { workloadId, epoch: run.epoch },
        { timeoutMs: PEER_MS, signal },
      );
    } catch (error) {
      signal.throwIfAborted();
      this.logger.log.info({ reason: errorText(error) }, 'the other site goes on receiving by itself');
    }
  }
}

const isOwn = (hold: string | null, run: FailoverRun): boolean => hold === null || hold === `failover ${run.id}`;

const resumed = ({ state }: Standby): { readonly state?: 'catching-up' } =>
  state === 'streaming' ? { state: 'catching-up' } : {};

import { Inject, Injectable } from '@nestjs/common';
import { type ContraryEvidence, peerStopReceiving } from '#contracts/failover';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { ArmedLeases } from '#libs/replication/site';
import { PeerSites, SITE_DRIVER, type PauseResult, type SiteDriver } from '#libs/sites/site';
import { contradicted, isWorse } from '../loss.js';
import { question } from './refuse-leases.step.js';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

/** A frozen walreceiver would block the promotion for more than 15 s (measured). */
const KILL_AFTER_MS = 1_000;

/** How long the other site is waited for, in milliseconds. */
export class PeerPatience {
  readonly milliseconds: number = 1_000;
}

const OTHER_PROMOTES =
  'The other site is taking over this workload itself. Let that failover finish, and cancel this one.';

interface OtherSite {
  readonly answered: boolean;
  readonly lsn: string | null;
  readonly timeline: number | null;
  readonly code: string | null;
  readonly contrary: ContraryEvidence | null;
}

/** Ends the streaming here and at the other site, so that the two can be compared and nothing comes after. */
@Injectable()
export class StopReceiversStep implements RunStepHandler {
  readonly step = 'stop-receivers';

  constructor(
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly peers: PeerSites,
    private readonly patience: PeerPatience,
    private readonly work: SiteUnitOfWork,
    private readonly leases: ArmedLeases,
    private readonly logger: AppLogger,
  ) {}

  async run(context: StepContext): Promise<StepOutcome> {
    const [own, other] = await Promise.all([this.own(context.standby.workloadId), this.other(context)]);
    if (other.code === 'failover.epoch-stale') {
      const message = 'The other site knows of a newer promotion of this workload.';
      return { kind: 'fail', message, evidence: { other } };
    }
    if (other.code === 'failover.run-open') {
      const why = 'the other site is taking over itself, and cannot be stopped any more';
      return { kind: 'confirm', loss: { kind: 'unknown', bytes: null, why }, message: OTHER_PROMOTES };
    }
    const loss = await this.contradiction(context, other.contrary);
    if (loss && isWorse(loss, context.run.acceptedLoss)) return { kind: 'confirm', loss, message: question(loss.why) };
    const otherText = !context.run.otherSite
      ? 'There is no other site.'
      : other.answered
        ? `The other site has stopped at ${other.lsn ?? 'nothing'}.`
        : 'The other site does not answer; it is turned to this one later.';
    return {
      kind: 'done',
      message: `This standby receives no more. ${otherText}`,
      evidence: { hadReceiver: own.hadReceiver, killed: own.killed, other },
      findings: { otherLsn: other.lsn, otherAnswered: other.answered, ...(loss && { loss, lossUntil: null }) },
    };
  }

  /** What the other site was told after this one last heard "armed" ends this one's claim that nothing is lost. */
  private async contradiction({ run }: StepContext, contrary: ContraryEvidence | null) {
    if (!contrary || run.loss?.kind !== 'none' || run.fencedLsn !== null) return undefined;
    const armed = await this.work.run((tx) => this.leases.secondsSinceArmed(tx, run.workloadId));
    return armed !== null && contrary.secondsAgo > armed ? undefined : contradicted(contrary.what);
  }

  private async own(workloadId: string): Promise<PauseResult> {
    try {
      return await this.driver.pauseReceiving(workloadId, KILL_AFTER_MS);
    } catch (error) {
      this.logger.log.info({ workloadId, reason: errorText(error) }, 'the standby is started for its promotion');
      await this.driver.ensureRunning(workloadId);
      return this.driver.pauseReceiving(workloadId, KILL_AFTER_MS);
    }
  }

  private async other({ run, signal }: StepContext): Promise<OtherSite> {
    if (!run.otherSite) return { answered: false, lsn: null, timeline: null, code: null, contrary: null };
    try {
      const answer = await this.peers.call(
        { peer: run.otherSite, workloadId: run.workloadId },
        peerStopReceiving,
        { workloadId: run.workloadId, epoch: run.epoch },
        { timeoutMs: this.patience.milliseconds, signal },
      );
      return {
        answered: true,
        lsn: answer.receivedLsn,
        timeline: answer.timeline,
        code: null,
        contrary: answer.contrary ?? null,
      };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof DomainError)) throw error;
      return { answered: false, lsn: null, timeline: null, code: error.code, contrary: null };
    }
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { peerStopReceiving } from '#contracts/failover';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { PeerSites, SITE_DRIVER, type PauseResult, type SiteDriver } from '#libs/sites/site';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

/** A frozen walreceiver would block the promotion for more than 15 s (measured). */
const KILL_AFTER_MS = 1_000;

/** How long the other site is waited for, in milliseconds. */
export class PeerPatience {
  readonly milliseconds: number = 1_000;
}

interface OtherSite {
  readonly answered: boolean;
  readonly lsn: string | null;
  readonly timeline: number | null;
  readonly code: string | null;
}

/** Ends the streaming here and at the other site, so that the two can be compared and nothing comes after. */
@Injectable()
export class StopReceiversStep implements RunStepHandler {
  readonly step = 'stop-receivers';

  constructor(
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly peers: PeerSites,
    private readonly patience: PeerPatience,
    private readonly logger: AppLogger,
  ) {}

  async run(context: StepContext): Promise<StepOutcome> {
    const [own, other] = await Promise.all([this.own(context.standby.workloadId), this.other(context)]);
    const otherText = !context.run.otherSite
      ? 'There is no other site.'
      : other.answered
        ? `The other site has stopped at ${other.lsn ?? 'nothing'}.`
        : 'The other site does not answer; it is turned to this one later.';
    return {
      kind: 'done',
      message: `This standby receives no more. ${otherText}`,
      evidence: { hadReceiver: own.hadReceiver, killed: own.killed, other },
      findings: { otherLsn: other.lsn, otherAnswered: other.answered },
    };
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
    if (!run.otherSite) return { answered: false, lsn: null, timeline: null, code: null };
    try {
      const answer = await this.peers.call(
        { peer: run.otherSite, workloadId: run.workloadId },
        peerStopReceiving,
        { workloadId: run.workloadId, epoch: run.epoch },
        { timeoutMs: this.patience.milliseconds, signal },
      );
      return { answered: true, lsn: answer.receivedLsn, timeline: answer.timeline, code: null };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof DomainError)) throw error;
      return { answered: false, lsn: null, timeline: null, code: error.code };
    }
  }
}

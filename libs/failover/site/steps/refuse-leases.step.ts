import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { LEASE_MARGIN_SECONDS } from '#contracts/replication';
import { SiteUnitOfWork } from '#libs/platform/database';
import { maxLsn } from '#libs/platform/postgres';
import { ArmedLeases, GRANT_SECONDS, type LeaseState, type SourceReport, SourceReports } from '#libs/replication/site';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { decideLoss, isWorse } from '../loss.js';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

const LOOK_MS = 100;

/**
 * No lease and no grant from now on; the degrade lease in force is waited out, unless the agent says that its receiver
 * has ended. What a promotion would lose is decided here, and asked about when it is more than was accepted.
 */
@Injectable()
export class RefuseLeasesStep implements RunStepHandler {
  readonly step = 'refuse-leases';

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly leases: ArmedLeases,
    private readonly reports: SourceReports,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  async run({ run, standby, signal }: StepContext): Promise<StepOutcome> {
    const { workloadId, role, mode } = standby;
    const refused = await this.leases.refuse(workloadId);
    const lease = await this.waitedOut(workloadId, refused, (now) => now.degradeSecondsLeft, signal);
    const report = await this.report(workloadId);
    const ownLsn = await this.ownPosition(workloadId);
    const { loss, until } = decideLoss({
      role,
      mode,
      lease,
      noDegradeGranted: run.noDegradeGranted,
      report,
      ownLsn,
    });
    if (isWorse(loss, run.acceptedLoss)) return { kind: 'confirm', loss, message: question(loss.why) };
    const othersMayGrant = role === 'regional' ? mode === 'available' || !run.noDegradeGranted : run.regionalGranted;
    // Where nothing is lost, nothing that anybody granted can be in force: neither beside a lease nor after it.
    if (othersMayGrant && loss.kind !== 'none') {
      await this.waitedOut(workloadId, refused, othersGrantLeft, signal);
    }
    return {
      kind: 'done',
      message: loss.kind === 'none' ? `Nothing will be lost: ${loss.why}.` : `The accepted loss: ${loss.why}.`,
      evidence: {
        armed: lease.armed,
        leaseSecondsLeft: lease.secondsLeft,
        endedBecause: lease.endedBecause,
        asynchronousSince: lease.disarmedAtLsn,
        degradeSecondsWaited: refused.degradeSecondsLeft,
        oldServer: run.oldServer,
        loss: loss.kind,
      },
      findings: { loss, lossUntil: until },
    };
  }

  /**
   * The agent's word counts once it has answered twice since the refusal: pulses come one after another, so the second
   * was sent after it, and its answer comes after the receiver has ended.
   */
  private async waitedOut(
    workloadId: string,
    refused: LeaseState,
    left: (lease: LeaseState) => number,
    signal: AbortSignal,
  ): Promise<LeaseState> {
    if (left(refused) === 0) return refused;
    const answers = new Set<number>();
    const before = (await this.report(workloadId))?.receivedAt.getTime() ?? 0;
    let lease = refused;
    while (left(lease) > 0 && answers.size < 2) {
      await delay(Math.min(LOOK_MS, left(lease) * 1_000), undefined, { signal });
      lease = await this.work.run((tx) => this.leases.state(tx, workloadId));
      const report = await this.report(workloadId);
      if (!report || report.receivedAt.getTime() <= before) continue;
      if (report.report.fenced) break;
      if (report.report.degraded) answers.clear();
      else if (report.report.reachable) answers.add(report.receivedAt.getTime());
    }
    // What had been degraded at the refusal stays so, however its end was told.
    return { ...lease, disarmedAtLsn: refused.disarmedAtLsn ?? lease.disarmedAtLsn };
  }

  private report(workloadId: string): Promise<SourceReport | undefined> {
    return this.work.run((tx) => this.reports.of(tx, workloadId));
  }

  private async ownPosition(workloadId: string): Promise<string | null> {
    // A server that does not answer has an unknown position here; a later step starts it.
    const position = await this.driver.position(workloadId).catch(() => undefined);
    return maxLsn(position?.flushedLsn, position?.receivedLsn, position?.replayedLsn) ?? null;
  }
}

/** What the other site, or a person, may have granted is not known here: it is waited out from the refusal on. */
const othersGrantLeft = ({ refusedSeconds }: LeaseState): number =>
  Math.max(0, GRANT_SECONDS + LEASE_MARGIN_SECONDS - (refusedSeconds ?? 0));

export const question = (why: string): string =>
  `This failover may lose acknowledged writes: ${why}. Confirm it with the loss that you accept and how the old server was stopped, or cancel it.`;

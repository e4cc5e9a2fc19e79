import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { lsnDifference, maxLsn } from '#libs/platform/postgres';
import { applicationOf, Credentials, Forwarders, slotOf } from '#libs/replication/site';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

const LOOK_MS = 20;
/** Without progress for so long, what is missing is left: acknowledged writes are worth more patience than others. */
const PATIENCE_MS = { proved: 2_000, unproved: 10_000 };

/**
 * Lets this standby follow the other site's until it has what that one has. The log that only the other has may hold
 * acknowledged writes when production was not armed, and without it the other could not follow the new timeline.
 */
@Injectable()
export class FetchMissingStep implements RunStepHandler {
  readonly step = 'fetch-missing';

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly credentials: Credentials,
    private readonly forwarders: Forwarders,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  async run(context: StepContext): Promise<StepOutcome> {
    const { run, standby } = context;
    const { ownLsn, otherLsn } = run;
    if (ownLsn === null || otherLsn === null || lsnDifference(otherLsn, ownLsn) <= 0n) {
      return { kind: 'skipped', message: 'Nothing is missing here that the other site has.' };
    }
    const credential = await this.work.run((tx) => this.credentials.of(tx, standby.workloadId));
    if (!credential) return { kind: 'skipped', message: 'There is no credential to fetch with from the other site.' };
    const port = await this.forwarders.ensure(standby.workloadId);
    await this.forwarders.follow(standby.workloadId, 'peer');
    await this.driver.follow(standby.workloadId, {
      host: '127.0.0.1',
      port,
      ...credential,
      slotName: slotOf(standby),
      applicationName: applicationOf(standby),
      sslmode: 'disable',
    });
    const reached = await this.reach(context, otherLsn);
    await this.driver.pauseReceiving(standby.workloadId);
    const complete = lsnDifference(otherLsn, reached) <= 0n;
    return {
      kind: complete ? 'done' : 'skipped',
      message: complete
        ? `Fetched from the other site up to ${reached}.`
        : `The other site's log up to ${otherLsn} could not be fetched; it will be seeded anew.`,
      evidence: { from: ownLsn, wanted: otherLsn, reached },
      findings: { ownLsn: reached },
    };
  }

  private async reach({ run, standby, signal }: StepContext, wanted: string): Promise<string> {
    const patience = run.loss?.kind === 'none' ? PATIENCE_MS.proved : PATIENCE_MS.unproved;
    let reached = run.ownLsn ?? '0/0';
    let movedAt = performance.now();
    while (lsnDifference(wanted, reached) > 0n && performance.now() - movedAt < patience) {
      const position = await this.driver.position(standby.workloadId);
      const now = maxLsn(position.flushedLsn, position.receivedLsn, position.replayedLsn, reached) ?? reached;
      if (now !== reached) movedAt = performance.now();
      reached = now;
      await delay(LOOK_MS, undefined, { signal });
    }
    return reached;
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { lsnDifference } from '#libs/platform/postgres';
import { SITE_DRIVER, type SiteDriver, type StandbyPosition } from '#libs/sites/site';
import { lossAfterFence } from '../loss.js';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

const LOOK_MS = 20;

/**
 * What this site has, against the other. After a restart the position is known only once replay has reached the end of
 * pg_wal: what the walreceiver says can be behind it (measured).
 */
@Injectable()
export class CompareStep implements RunStepHandler {
  readonly step = 'compare';

  constructor(@Inject(SITE_DRIVER) private readonly driver: SiteDriver) {}

  async run({ run, standby, signal }: StepContext): Promise<StepOutcome> {
    const position = await this.known(standby.workloadId, signal);
    const ownLsn = position.flushedLsn ?? '0/0';
    const otherAhead = run.otherLsn === null ? null : Number(lsnDifference(run.otherLsn, ownLsn));
    const proved = run.fencedLsn === null ? undefined : lossAfterFence(run.fencedLsn, ownLsn);
    const loss = proved && run.loss?.kind !== 'none' ? { loss: proved, lossUntil: null } : {};
    const message =
      otherAhead === null
        ? `This site has the log up to ${ownLsn}.`
        : otherAhead > 0
          ? `This site has the log up to ${ownLsn}; the other has ${otherAhead} bytes more.`
          : `This site has the log up to ${ownLsn}; the other has nothing more.`;
    return {
      kind: 'done',
      message,
      evidence: { ownLsn, otherLsn: run.otherLsn, timeline: position.timeline, replayedLsn: position.replayedLsn },
      findings: { ownLsn, ...loss },
    };
  }

  private async known(workloadId: string, signal: AbortSignal): Promise<StandbyPosition> {
    for (;;) {
      const position = await this.driver.position(workloadId);
      if (position.flushedLsn !== null) return position;
      await delay(LOOK_MS, undefined, { signal });
    }
  }
}

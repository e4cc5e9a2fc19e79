import { Injectable } from '@nestjs/common';
import { runFinishedResult } from '#contracts/failover';
import { SiteOutbox } from '#libs/sites/site';
import { OtherSite } from '../other-site.js';
import { reportOf } from '../runs/run-report.js';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

/** The other site follows this one, or is marked to be turned later, in the background. */
@Injectable()
export class RepointOtherSiteStep implements RunStepHandler {
  readonly step = 'repoint-other-site';

  constructor(private readonly other: OtherSite) {}

  async run({ run, standby, signal }: StepContext): Promise<StepOutcome> {
    if (!run.otherSite) {
      return { kind: 'skipped', message: 'There is no other site.', findings: { repoint: 'none' } };
    }
    const { following, reason } = await this.other.repoint(run, standby, signal);
    return {
      kind: following ? 'done' : 'skipped',
      message: following
        ? 'The other site follows this one.'
        : `The other site does not follow yet and is asked again: ${reason ?? 'no reason given'}`,
      evidence: { following, reason },
      findings: { repoint: following ? 'done' : 'pending' },
    };
  }
}

/** Tells the control plane what came of it; the run's end is in the same transaction. */
@Injectable()
export class NotifyStep implements RunStepHandler {
  readonly step = 'notify';

  constructor(private readonly outbox: SiteOutbox) {}

  async run({ run }: StepContext): Promise<StepOutcome> {
    return {
      kind: 'done',
      message: 'The workload runs at this site.',
      write: (tx) =>
        this.outbox.emit(
          tx,
          runFinishedResult,
          { tenantId: run.tenantId, orderId: run.orderId },
          { state: 'completed', report: reportOf(run), reason: null },
        ),
    };
  }
}

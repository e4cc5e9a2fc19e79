import type { AcceptedLoss, LossStatement, OldServerFate } from '#contracts/failover';
import { DomainError } from '#libs/platform/errors';

export class FailoverOpenError extends DomainError {
  constructor(run: { readonly id: string; readonly declaration: number; readonly state: string }) {
    super(
      'conflict',
      'failover.open',
      `A failover of this workload is under way (declaration ${run.declaration}). Follow it at /v1/failovers/${run.id}, or cancel it there.`,
      { facts: { runId: run.id, declaration: run.declaration, state: run.state } },
    );
  }
}

/** What a declaration must say that this one did not; `send` is what to add to it. */
export interface Missing {
  readonly siteId: string;
  readonly loss: LossStatement;
  readonly armed: boolean | null;
  readonly bytesBehind: number | null;
  readonly send: { readonly acceptLoss: AcceptedLoss; readonly oldServer: OldServerFate | readonly OldServerFate[] };
}

export class LossNotAcceptedError extends DomainError {
  constructor(missing: Missing) {
    super(
      'conflict',
      'failover.loss-not-accepted',
      `This failover cannot promise to lose nothing: ${missing.loss.why} If you accept that, declare again with acceptLoss and oldServer as "send" has them.`,
      { facts: { ...missing } },
    );
  }
}

export class OldServerNotSaidError extends DomainError {
  constructor(missing: Missing) {
    super(
      'conflict',
      'failover.old-server-not-said',
      'The old server may still be acknowledging writes. Say how it was stopped (oldServer: destroyed, switched-off, cut-off, or unknown) and declare again; the record keeps your word.',
      { facts: { ...missing } },
    );
  }
}

export class NotAStandbySiteError extends DomainError {
  constructor(siteIds: readonly string[]) {
    super('unprocessable', 'failover.site-unfit', 'This workload has no standby at that site. Choose one of siteIds.', {
      facts: { siteIds },
    });
  }
}

export class AlreadyThereError extends DomainError {
  constructor(siteId: string) {
    super('conflict', 'failover.already-there', 'Production of this workload runs at this site already.', {
      facts: { siteId },
    });
  }
}

export class RunFinishedError extends DomainError {
  constructor(state: string) {
    super('conflict', 'failover.finished', `This run has ended (${state}): nothing of it can be changed any more.`, {
      facts: { state },
    });
  }
}

export class RunDeliveredError extends DomainError {
  constructor() {
    super(
      'conflict',
      'failover.delivered',
      'The site has this run and works on it, so it cannot be abandoned: cancel it without "abandon", and the site decides whether it still can be. It can be abandoned once the site is silent for 10 seconds or has failed at a step three times.',
    );
  }
}

/** A site's report of a run's end that speaks of another workload or epoch than was ordered. */
export class ForeignReportError extends DomainError {
  constructor(runId: string, workloadId: string, epoch: number) {
    super('unprocessable', 'failover.foreign-report', 'The report is not of this failover.', {
      detail: `run ${runId}: reported workload ${workloadId}, epoch ${epoch}`,
    });
  }
}

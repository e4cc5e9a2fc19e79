import type { LossStatement, RunStep } from '#contracts/failover';
import type { SiteTransaction } from '#libs/platform/database';
import type { Standby } from '#libs/replication/site';
import type { FailoverRun, RunFindings } from '../runs/run.row.js';

export interface StepContext {
  readonly run: FailoverRun;
  readonly standby: Standby;
  readonly signal: AbortSignal;
}

/**
 * What a step came to. done and skipped: what it found, written with its end, and whatever else belongs into that
 * transaction. confirm: a person must accept this loss first; the step is taken up again then.
 * fail: the run is over, before anything was promoted.
 */
export type StepOutcome =
  | {
      readonly kind: 'done' | 'skipped';
      readonly message: string;
      readonly evidence?: Readonly<Record<string, unknown>>;
      readonly findings?: RunFindings;
      readonly write?: (tx: SiteTransaction) => Promise<void>;
    }
  | { readonly kind: 'fail'; readonly message: string; readonly evidence?: Readonly<Record<string, unknown>> }
  | { readonly kind: 'confirm'; readonly message: string; readonly loss: LossStatement };

/** One step of a run. It may be repeated after a crash at any point and then answers the same. */
export interface RunStepHandler {
  readonly step: RunStep;
  run(context: StepContext): Promise<StepOutcome>;
}

import type { AcceptedLoss, LossStatement } from '#contracts/failover';
import type { ProtectionMode } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import { lsnDifference } from '#libs/platform/postgres';
import { isFresh, type LeaseState, type SourceReport } from '#libs/replication/site';

export interface LossEvidence {
  readonly role: SiteRole;
  readonly mode: ProtectionMode;
  /** As it was when leases were refused: nothing can be granted after that. */
  readonly lease: LeaseState;
  /**
   * The control plane says that it has granted nothing in this epoch that lets production go on without this site, and
   * gives nothing from now on. Of the regional site: no grant but those that make it the synchronous one.
   */
  readonly noDegradeGranted: boolean;
  readonly report: SourceReport | undefined;
  /** All that this site has, as far as is known. */
  readonly ownLsn: string | null;
}

export interface LossDecision {
  readonly loss: LossStatement;
  /** Until when it holds; null when time does not change it. */
  readonly until: Date | null;
}

const none = (why: string): LossStatement => ({ kind: 'none', bytes: 0, why });

/**
 * What a promotion at this site would lose. `none` is claimed only when it is proved, in one of two ways:
 *
 * - The armed lease runs. The agent has promised that no commit is acknowledged without this site until the lease ends,
 *   whatever happens to it. The claim ends with the lease.
 * - The workload is strict, has been armed in this epoch after it heard so, this site has recorded no "asynchronous since", and the
 *   control plane has granted none. In strict mode only these two may let production go on alone, and both have been
 *   closed by this run; so an agency that fell silent in the armed state still waits for this site, or is gone. Time does
 *   not change that, which is why a lease that ran out does not matter here. It is not claimed when the agent went on
 *   answering that the server runs and is not armed: then somebody changed its settings by hand.
 *
 * It is the same for both sites: for the regional one from when it has become the synchronous one in this epoch, and until
 * it has recorded that production returns to the metro. Only its record lets the agent return, or a person's word, which
 * the control plane keeps.
 *
 * Neither is claimed once the agent has said, here or to the other site, that production may go on alone, until it has
 * said "armed" again.
 *
 * In available mode the agent may go on alone once its promise is over, so after the lease nothing is known.
 */
export function decideLoss(evidence: LossEvidence): LossDecision {
  const { role, mode, lease, noDegradeGranted, report } = evidence;
  if (role === 'regional' && !lease.everArmed) {
    return asynchronous(evidence, 'this site receives after production has acknowledged');
  }
  if (lease.disarmedAtLsn !== null || lease.disarmedAt !== null) {
    const since = lease.disarmedAtLsn ?? lease.disarmedAt?.toISOString();
    return asynchronous(evidence, `production has gone on without this site since ${since}`);
  }
  const contrary = report?.contrary[role];
  if (contrary) return asynchronous(evidence, `the agent has said: ${contrary.what}`);
  const strictlyArmed = mode === 'strict' && noDegradeGranted && lease.everArmed && lease.strictConfirmed;
  if (lease.armed) {
    const until = strictlyArmed ? null : lease.armedUntil;
    return { loss: none('production acknowledged nothing that this site lacks: its armed lease runs'), until };
  }
  if (strictlyArmed && lease.endedBecause !== 'answered-not-armed' && lease.endedBecause !== 'degraded') {
    const why = 'production was armed, is strict, and nobody has allowed it to go on without this site';
    return { loss: none(why), until: null };
  }
  if (!lease.everArmed) return asynchronous(evidence, 'production was never armed in this epoch');
  return asynchronous(evidence, 'the armed lease has ended, and production may have gone on without this site');
}

function asynchronous({ report, ownLsn }: LossEvidence, why: string): LossDecision {
  // The position of an older answer says nothing of what was written until this one.
  const lsn = isFresh(report) ? report.report.lsn : null;
  if (!report || lsn === null || ownLsn === null) {
    const loss: LossStatement = { kind: 'unknown', bytes: null, why: `${why}, and the agency is silent` };
    return { loss, until: null };
  }
  const bytes = Number(lsnDifference(lsn, ownLsn));
  const age = Math.max(1, Math.round(report.ageSeconds));
  if (bytes <= 0) {
    const loss: LossStatement = {
      kind: 'unknown',
      bytes: null,
      why: `${why}; this site has all that was reported ${age} s ago, and what came after is not known`,
    };
    return { loss, until: null };
  }
  const loss: LossStatement = {
    kind: 'bounded',
    bytes,
    why: `${why}; this site lacks ${bytes} bytes of what was reported ${age} s ago`,
  };
  return { loss, until: null };
}

/** What the old server's clean stop proves: everything it ever wrote ends at `fencedLsn`. */
export function lossAfterFence(fencedLsn: string, ownLsn: string): LossStatement {
  const bytes = Number(lsnDifference(fencedLsn, ownLsn));
  if (bytes <= 0) return none(`the agency's server was stopped at ${fencedLsn}, and this site has all of it`);
  return {
    kind: 'bounded',
    bytes,
    why: `the agency's server was stopped at ${fencedLsn}, and this site ends ${bytes} bytes before`,
  };
}

/** What the other site was told, against a claim that rests on what this one was told. */
export const contradicted = (what: string): LossStatement => ({
  kind: 'unknown',
  bytes: null,
  why: `the agent has told the other site: ${what}`,
});

const RANK = { none: 0, bounded: 1, unknown: 2 } as const;

/** Whether a loss is more than a person has accepted. */
export function isWorse(loss: LossStatement, accepted: AcceptedLoss): boolean {
  if (loss.kind === 'bounded' && accepted.kind === 'bounded') return (loss.bytes ?? Infinity) > accepted.bytes;
  return RANK[loss.kind] > RANK[accepted.kind];
}

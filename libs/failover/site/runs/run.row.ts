import type { AcceptedLoss, LossStatement, OldServerFate, RunState, RunStep } from '#contracts/failover';
import type { ReplicationNames } from '#contracts/replication';
import type { PeerSite } from '#contracts/sites';
import type { StepState } from './run.states.js';

/** One failover run at this site, as the row has it. */
export interface FailoverRun {
  readonly id: string;
  readonly workloadId: string;
  readonly tenantId: string;
  readonly orderId: string;
  readonly declaration: number;
  readonly epoch: number;
  readonly names: ReplicationNames;
  readonly otherSite: PeerSite | null;
  readonly noDegradeGranted: boolean;
  /** The regional site may have been the synchronous one in this epoch, and have let production go on alone. */
  readonly regionalGranted: boolean;
  readonly acceptedLoss: AcceptedLoss;
  readonly oldServer: OldServerFate;
  readonly followed: 'agency' | 'peer';
  readonly state: RunState;
  readonly reason: string | null;
  readonly receivedAt: Date;
  readonly loss: LossStatement | null;
  /** Until when the loss is as stated; null when time does not change it. */
  readonly lossUntil: Date | null;
  readonly ownLsn: string | null;
  readonly otherLsn: string | null;
  readonly otherAnswered: boolean | null;
  readonly fenced: boolean | null;
  readonly fencedLsn: string | null;
  readonly promoteBeganAt: Date | null;
  readonly promotedAtLsn: string | null;
  readonly promotedTimeline: number | null;
  readonly firstWriteAt: Date | null;
  readonly frontDoor: { readonly host: string; readonly port: number } | null;
  readonly repoint: 'none' | 'pending' | 'done';
  /** The trace of the declaration, so that a run goes on in it after a crash; null when it was not traced. */
  readonly traceparent: string | null;
}

export const RUN_COLUMNS = `
  id, workload_id AS "workloadId", tenant_id AS "tenantId", order_id AS "orderId", declaration, epoch, names,
  other_site AS "otherSite", no_degrade_granted AS "noDegradeGranted",
  regional_granted AS "regionalGranted", accepted_loss AS "acceptedLoss",
  old_server AS "oldServer", followed, state, reason, received_at AS "receivedAt", loss, loss_until AS "lossUntil",
  own_lsn::text AS "ownLsn", other_lsn::text AS "otherLsn", other_answered AS "otherAnswered", fenced,
  fenced_lsn::text AS "fencedLsn", promote_began_at AS "promoteBeganAt", promoted_at_lsn::text AS "promotedAtLsn",
  promoted_timeline AS "promotedTimeline", first_write_at AS "firstWriteAt", front_door AS "frontDoor", repoint,
  traceparent`;

/** What steps find out, and later ones go by. */
export interface RunFindings {
  readonly loss?: LossStatement;
  readonly lossUntil?: Date | null;
  readonly ownLsn?: string | null;
  readonly otherLsn?: string | null;
  readonly otherAnswered?: boolean;
  readonly fenced?: boolean | null;
  readonly fencedLsn?: string | null;
  readonly promotedAtLsn?: string;
  readonly promotedTimeline?: number;
  readonly firstWriteAt?: Date;
  readonly frontDoor?: { readonly host: string; readonly port: number } | null;
  readonly repoint?: 'none' | 'pending' | 'done';
}

export const FINDING_COLUMNS: Readonly<Record<keyof RunFindings, string>> = {
  loss: 'loss',
  lossUntil: 'loss_until',
  ownLsn: 'own_lsn',
  otherLsn: 'other_lsn',
  otherAnswered: 'other_answered',
  fenced: 'fenced',
  fencedLsn: 'fenced_lsn',
  promotedAtLsn: 'promoted_at_lsn',
  promotedTimeline: 'promoted_timeline',
  firstWriteAt: 'first_write_at',
  frontDoor: 'front_door',
  repoint: 'repoint',
};

export interface StepRecord {
  readonly step: RunStep;
  readonly state: StepState;
  readonly attempt: number;
}

import type {
  ArchiveAlarm,
  ArchivePolicy,
  ArchiveState,
  Failure,
  FormerRetention,
  KeyMode,
  SourceKind,
} from '#contracts/archive';
import type { PeerSite } from '#contracts/sites';

/** What may have an archive's repository for itself. */
export type WorkKind = 'run' | 'restore' | 'keys' | 'retention' | 'prune';

/** One workload archived at this site, as its row has it. */
export interface ArchiveRow {
  readonly archiveId: string;
  readonly tenantId: string;
  readonly workloadId: string;
  readonly agentId: string;
  readonly workloadName: string;
  readonly source: SourceKind;
  readonly keyMode: KeyMode;
  readonly state: ArchiveState;
  readonly policy: ArchivePolicy;
  /** What was kept before it was to keep less. */
  readonly formerRetention: FormerRetention | null;
  readonly paused: boolean;
  readonly second: PeerSite | null;
  readonly failure: Failure | null;
  /** As they were told last. */
  readonly alarms: readonly ArchiveAlarm[];
  readonly nextRunAt: Date | null;
  readonly workId: string | null;
  readonly workKind: WorkKind | null;
  readonly prunedAt: Date | null;
  readonly retentionAt: Date | null;
  readonly keysRotatedAt: Date | null;
  /** New passwords are wanted. */
  readonly rotationId: string | null;
  readonly retryAt: Date | null;
  readonly createdAt: Date;
  readonly version: number;
}

export const ARCHIVE_COLUMNS = `
  archive_id AS "archiveId", tenant_id AS "tenantId", workload_id AS "workloadId", agent_id AS "agentId",
  workload_name AS "workloadName", source, key_mode AS "keyMode", state, policy, former_retention AS "formerRetention", paused, second, failure, alarms,
  next_run_at AS "nextRunAt", work_id AS "workId", work_kind AS "workKind", pruned_at AS "prunedAt",
  retention_at AS "retentionAt", keys_rotated_at AS "keysRotatedAt", rotation_id AS "rotationId", retry_at AS "retryAt", created_at AS "createdAt",
  version`;

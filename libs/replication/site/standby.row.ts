import type { PeerSite, SiteRole } from '#contracts/sites';
import type { Alarm, ProtectionMode, ReplicationNames, ServerFacts, StandbyState } from '#contracts/replication';

/** One workload's standby at this site, as the row has it. */
export interface Standby {
  readonly workloadId: string;
  readonly tenantId: string;
  readonly agentId: string;
  /** In the agent's own configuration. */
  readonly workloadName: string;
  readonly role: SiteRole;
  readonly mode: ProtectionMode;
  readonly state: StandbyState;
  readonly stateReason: string | null;
  readonly stateSince: Date;
  readonly epoch: number;
  readonly names: ReplicationNames;
  readonly peer: PeerSite | null;
  /** What the agency's server last said of itself. */
  readonly server: ServerFacts | null;
  readonly factsAt: Date | null;
  /** What the continuous preflight last found wrong. */
  readonly findings: readonly Alarm[];
  readonly slotRestartLsn: string | null;
  readonly bandwidthBytesPerSecond: number | null;
  readonly paused: boolean;
  readonly rebootUntil: Date | null;
  readonly removing: boolean;
  readonly follow: 'agency' | 'peer';
  readonly promotedAtLsn: string | null;
  readonly promotedTimeline: number | null;
  readonly seeding: SeedingRecord | null;
  readonly seedingSince: Date | null;
  readonly armWanted: boolean;
  readonly followWanted: boolean;
  readonly freshSlot: boolean;
  /** Whose work the standby is now instead of the reconciler's. */
  readonly hold: string | null;
  readonly holdUntil: Date | null;
  readonly retryAt: Date | null;
  readonly retries: number;
  readonly version: number;
}

/** Progress of the copy, written about once a second. */
export interface SeedingRecord {
  readonly bytesTotal: number;
  readonly bytesDone: number;
  readonly bytesTransferred: number;
  readonly bytesPerSecond: number;
  readonly secondsLeft: number | null;
  readonly attempt: number;
  readonly from: 'agency' | 'peer';
}

export const STANDBY_COLUMNS = `
  workload_id AS "workloadId", tenant_id AS "tenantId", agent_id AS "agentId", workload_name AS "workloadName",
  role, mode, state, state_reason AS "stateReason", state_since AS "stateSince", epoch, names, peer, server,
  facts_at AS "factsAt", findings, slot_restart_lsn::text AS "slotRestartLsn",
  bandwidth_bytes_per_second::float8 AS "bandwidthBytesPerSecond", paused,
  reboot_until AS "rebootUntil", removing, follow, promoted_at_lsn::text AS "promotedAtLsn",
  promoted_timeline AS "promotedTimeline", seeding, seeding_since AS "seedingSince", arm_wanted AS "armWanted",
  follow_wanted AS "followWanted",  fresh_slot AS "freshSlot", hold, hold_until AS "holdUntil", retry_at AS "retryAt", retries, version`;

/** Columns of jsonb: their values travel as text. */
export const JSON_COLUMNS: ReadonlySet<string> = new Set(['server', 'seeding', 'findings']);

/** What a change may write beside the state. */
export interface StandbyChanges {
  readonly epoch?: number;
  readonly server?: ServerFacts;
  readonly factsAt?: Date;
  readonly findings?: readonly Alarm[];
  readonly slotRestartLsn?: string | null;
  readonly standbyPort?: number;
  readonly follow?: 'agency' | 'peer';
  readonly promotedAtLsn?: string | null;
  readonly promotedTimeline?: number | null;
  readonly seeding?: SeedingRecord | null;
  readonly seedingSince?: Date | null;
  readonly armWanted?: boolean;
  readonly followWanted?: boolean;
  readonly freshSlot?: boolean;
  readonly hold?: string | null;
  readonly holdUntil?: Date | null;
  readonly retryAt?: Date | null;
  readonly retries?: number;
  readonly generation?: number;
}

export const CHANGE_COLUMNS: Readonly<Record<keyof StandbyChanges, string>> = {
  epoch: 'epoch',
  server: 'server',
  factsAt: 'facts_at',
  findings: 'findings',
  slotRestartLsn: 'slot_restart_lsn',
  standbyPort: 'standby_port',
  follow: 'follow',
  promotedAtLsn: 'promoted_at_lsn',
  promotedTimeline: 'promoted_timeline',
  seeding: 'seeding',
  seedingSince: 'seeding_since',
  armWanted: 'arm_wanted',
  followWanted: 'follow_wanted',
  freshSlot: 'fresh_slot',
  hold: 'hold',
  holdUntil: 'hold_until',
  retryAt: 'retry_at',
  retries: 'retries',
  generation: 'generation',
};

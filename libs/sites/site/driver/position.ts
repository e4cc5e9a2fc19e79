import { LIMITS } from './standby-configuration.js';
import { maxLsn, type ControlData, type PostgresClient, type PostgresServer } from '#libs/platform/postgres';
import type { StandbyPosition } from './driver.js';

/** The functions of a recovery fail outside of it, hence the CASEs. */
const POSITION = `
  SELECT pg_is_in_recovery() AS in_recovery,
         pg_last_wal_receive_lsn() AS received,
         pg_last_wal_replay_lsn() AS replayed,
         CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused,
         CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn() END AS written,
         CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS file,
         pg_last_xact_replay_timestamp() AS replayed_at,
         (SELECT status FROM pg_stat_wal_receiver) AS receiver,
         (SELECT received_tli FROM pg_stat_wal_receiver) AS received_timeline,
         (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup') AS startup,
         greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                  (SELECT min_recovery_end_timeline FROM pg_control_recovery())) AS control_timeline`;

/** What the startup process waits for once it has replayed all that is in pg_wal. */
const AT_END_OF_WAL = new Set(['RecoveryWalStream', 'RecoveryRetrieveRetryInterval']);

interface Row {
  readonly in_recovery: boolean;
  readonly received: string | null;
  readonly replayed: string | null;
  readonly paused: boolean;
  readonly written: string | null;
  readonly file: string | null;
  readonly replayed_at: Date | null;
  readonly receiver: string | null;
  readonly received_timeline: number | null;
  readonly startup: string | null;
  readonly control_timeline: number;
}

/** Reads where a server is, by a connection to it. */
export async function readPosition(client: PostgresClient, server: PostgresServer): Promise<StandbyPosition> {
  const { rows } = await client.query<Row>(POSITION);
  const [row] = rows;
  if (!row) throw new Error('the server said nothing of its position');
  return {
    inRecovery: row.in_recovery,
    timeline: row.file ? Number.parseInt(row.file.slice(0, 8), 16) : timelineInRecovery(row),
    receivedLsn: row.received,
    replayedLsn: row.replayed,
    flushedLsn: row.in_recovery ? flushedInRecovery(row) : row.written,
    replayPaused: row.paused,
    parametersInsufficient: row.paused && (await insufficientLimits(client, await server.controlData())).length > 0,
    receiverStatus: row.receiver,
    lastReplayedAt: row.replayed_at,
  };
}

/**
 * pg_last_wal_receive_lsn() may be behind replay after a restart, and is null until a walreceiver runs; while neither
 * has one run nor replay reached the end of pg_wal, what the disk holds is not known. A walreceiver is only started
 * once pg_wal is exhausted, so from then on the greater of the two is all there is.
 */
function flushedInRecovery(row: Row): string | null {
  const known = row.received !== null || (row.startup !== null && AT_END_OF_WAL.has(row.startup));
  return known ? (maxLsn(row.received, row.replayed) ?? null) : null;
}

function timelineInRecovery(row: Row): number {
  return Math.max(row.received_timeline ?? 0, row.control_timeline);
}

/** Limits of the primary, as replay has learned them, that are above this server's. */
async function insufficientLimits(client: PostgresClient, control: ControlData): Promise<string[]> {
  const { rows } = await client.query<{ name: string; value: string }>(
    'SELECT name, setting AS value FROM pg_settings WHERE name = ANY ($1)',
    [[...LIMITS]],
  );
  const primary = limitsOf(control);
  return rows.filter((row) => Number(row.value) < (primary[row.name] ?? 0)).map((row) => row.name);
}

export function limitsOf(control: ControlData): Record<string, number> {
  return {
    max_connections: control.maxConnections,
    max_worker_processes: control.maxWorkerProcesses,
    max_wal_senders: control.maxWalSenders,
    max_prepared_transactions: control.maxPreparedTransactions,
    max_locks_per_transaction: control.maxLocksPerTransaction,
  };
}

import path from 'node:path';
import type { PostgresInstallation } from './binaries.js';
import { PostgresServerError } from './errors.js';
import type { ServerIdentity } from './identity.js';
import { runTool } from './tool.js';

/** What pg_control says of a data directory; readable whether the server runs or not. */
export interface ControlData {
  /** The same for a cluster and all its copies. A 64-bit number, so text. */
  readonly systemIdentifier: string;
  readonly timeline: number;
  /** `in production`, `in archive recovery`, `shut down`, `shut down in recovery`, … */
  readonly state: string;
  readonly checkpointLsn: string;
  readonly redoLsn: string;
  /** Recovery must reach this before the copy is consistent; `0/0` when there is nothing to reach. */
  readonly minimumRecoveryLsn: string;
  readonly minimumRecoveryTimeline: number;
  readonly dataChecksums: boolean;
  readonly walLogHints: boolean;
  readonly walSegmentBytes: number;
  /** The primary's, which a standby must not be below: it pauses its replay otherwise. */
  readonly maxConnections: number;
  readonly maxWorkerProcesses: number;
  readonly maxWalSenders: number;
  readonly maxPreparedTransactions: number;
  readonly maxLocksPerTransaction: number;
}

/**
 * Runs pg_controldata.
 *
 * @throws PostgresToolError when the directory is not readable or not of this version.
 */
export async function readControlData(
  installation: PostgresInstallation,
  directory: string,
  identity: ServerIdentity,
): Promise<ControlData> {
  const file = path.join(installation.binDirectory, 'pg_controldata');
  const { stdout } = await runTool(file, ['-D', directory], { identity, timeoutMs: 30_000 });
  return parseControlData(stdout);
}

/** The text that pg_controldata prints in the C locale → its fields. */
export function parseControlData(text: string): ControlData {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  const field = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined) {
      throw new PostgresServerError('The data directory cannot be read: pg_controldata gave no answer to a question.', {
        detail: `pg_controldata lacks "${name}"`,
      });
    }
    return value;
  };
  return {
    systemIdentifier: field('Database system identifier'),
    timeline: Number(field("Latest checkpoint's TimeLineID")),
    state: field('Database cluster state'),
    checkpointLsn: field('Latest checkpoint location'),
    redoLsn: field("Latest checkpoint's REDO location"),
    minimumRecoveryLsn: field('Minimum recovery ending location'),
    minimumRecoveryTimeline: Number(field("Min recovery ending loc's timeline")),
    dataChecksums: field('Data page checksum version') !== '0',
    walLogHints: field('wal_log_hints setting') === 'on',
    walSegmentBytes: Number(field('Bytes per WAL segment')),
    maxConnections: Number(field('max_connections setting')),
    maxWorkerProcesses: Number(field('max_worker_processes setting')),
    maxWalSenders: Number(field('max_wal_senders setting')),
    maxPreparedTransactions: Number(field('max_prepared_xacts setting')),
    maxLocksPerTransaction: Number(field('max_locks_per_xact setting')),
  };
}

import type { ReplicationNames } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { Clock } from '#libs/platform/clock';
import type { KeptConnection } from './connection.js';

/** One walsender, as pg_stat_replication shows it. */
export interface Sender {
  readonly pid: number;
  readonly application: string;
  readonly user: string;
  readonly state: string;
  readonly sync: string;
  readonly flush: string | null;
  /** When the standby says that it sent its last reply, by its own clock. */
  readonly repliedAt: string | null;
}

export interface Slot {
  readonly name: string;
  readonly active: boolean;
  readonly activePid: number | null;
  readonly walStatus: string | null;
  readonly safeWalBytes: number | null;
  readonly retainedBytes: number | null;
}

/** What the agency's server says of itself at one moment. */
export interface Sample {
  /** Monotonic milliseconds, before the server was asked. */
  readonly askedAt: number;
  readonly inRecovery: boolean;
  /** Flushed to disk here; on a server in recovery, replayed. */
  readonly lsn: string;
  readonly timeline: number;
  readonly systemIdentifier: string;
  readonly synchronousNames: string;
  /**
   * What the next reload would make of it, as ALTER SYSTEM has filed it: another value when somebody was interrupted before
   * the reload. Read from the file itself, since a fault elsewhere in the configuration hides it from pg_file_settings.
   */
  readonly filedNames: string;
  /** A process of the agent's, or what is left of a dead one in the server, is changing it. */
  readonly namesLocked: boolean;
  /** Both change when somebody changed the settings in between: what was seen before then proves nothing. */
  readonly configurationLoadedAt: string;
  readonly startedAt: string;
  readonly senders: readonly Sender[];
  readonly slots: readonly Slot[];
}

/** A second's pulse, and the agent asks itself as often: a frozen server must be known as such within that time. */
export const SAMPLE_TIMEOUT_MS = 800;

/** The advisory lock (two keys) without which no process of the agent changes synchronous_standby_names. */
export const NAMES_LOCK = [1_296_651_127, 1_852_796_275] as const;

const QUERY = `
  SELECT recovery AS "inRecovery", position::text AS lsn,
    CASE WHEN recovery THEN (SELECT timeline_id FROM pg_control_checkpoint())
      ELSE ('x' || substr(pg_walfile_name(position), 1, 8))::bit(32)::int END AS timeline,
    (SELECT system_identifier::text FROM pg_control_system()) AS "systemIdentifier",
    current_setting('synchronous_standby_names') AS "synchronousNames",
    coalesce((SELECT (regexp_match(line, '=\\s*''(.*)''\\s*$'))[1]
      FROM regexp_split_to_table(pg_read_file('postgresql.auto.conf', 0, 1000000, true), E'\\n')
        WITH ORDINALITY AS lines (line, number)
      WHERE line ~* '^\\s*synchronous_standby_names\\s*=' ORDER BY number DESC LIMIT 1),
      current_setting('synchronous_standby_names')) AS "filedNames",
    EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = ${NAMES_LOCK[0]} AND objid = ${NAMES_LOCK[1]}
      AND objsubid = 2 AND granted) AS "namesLocked",
    pg_conf_load_time()::text AS "configurationLoadedAt", pg_postmaster_start_time()::text AS "startedAt",
    coalesce((SELECT json_agg(json_build_object('pid', pid, 'application', application_name, 'user', usename,
      'state', state, 'sync', sync_state, 'flush', flush_lsn::text,
      'repliedAt', reply_time::text)) FROM pg_stat_replication), '[]') AS senders,
    coalesce((SELECT json_agg(json_build_object('name', slot_name, 'active', active, 'activePid', active_pid,
      'walStatus', wal_status, 'safeWalBytes', safe_wal_size,
      'retainedBytes', pg_wal_lsn_diff(position, restart_lsn))) FROM pg_replication_slots), '[]') AS slots
  FROM (SELECT pg_is_in_recovery() AS recovery, CASE WHEN pg_is_in_recovery()
    THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END AS position) AS now`;

/**
 * Looks at the server; one query, bounded in time. Two sites that ask at once get the same look.
 *
 * @throws WorkloadUnreachableError
 */
export class Sampler {
  private looking: Promise<Sample> | undefined;

  constructor(
    private readonly connection: KeptConnection,
    private readonly clock: Clock,
  ) {}

  look(): Promise<Sample> {
    this.looking ??= this.ask().finally(() => (this.looking = undefined));
    return this.looking;
  }

  private async ask(): Promise<Sample> {
    const askedAt = this.clock.monotonic();
    const [row] = await this.connection.query<Omit<Sample, 'askedAt'>>(QUERY, SAMPLE_TIMEOUT_MS);
    if (!row) throw new Error('the server gave no row');
    return { ...row, askedAt };
  }
}

type Listed = Pick<ReplicationNames, 'metroApplication' | 'regionalApplication' | 'lease'>;

/** What a protection lists in synchronous_standby_names: the synchronous site first, the degrade receiver second. */
export function synchronousNames(names: Listed, leader: SiteRole = 'metro'): string {
  return `FIRST 1 ("${leader === 'metro' ? names.metroApplication : names.regionalApplication}","${names.lease}")`;
}

/**
 * Which site the setting makes the synchronous one; null when it is not exactly one of ours. PostgreSQL compares these
 * names without regard to case, and lets them stand with and without quotes.
 */
export function ledBy(setting: string, names: Listed): SiteRole | null {
  const plain = (text: string) => text.replace(/[\s"]/g, '').toLowerCase();
  return (
    (['metro', 'regional'] as const).find((role) => plain(setting) === plain(synchronousNames(names, role))) ?? null
  );
}

export function isOurs(setting: string, names: Listed): boolean {
  return ledBy(setting, names) !== null;
}

export const otherRole = (role: SiteRole): SiteRole => (role === 'metro' ? 'regional' : 'metro');

export function sendersNamed(sample: Sample, application: string): Sender[] {
  return sample.senders.filter((sender) => sender.application.toLowerCase() === application.toLowerCase());
}

import { connectionString, type ConfigurationValue, type HbaRule } from '#libs/platform/postgres';
import { bareLibraries, LIBRARY_SETTINGS } from './preload-libraries.js';
import type { StandbyPaths } from './standby-paths.js';
import type { FollowedSource, StandbyState } from './standby-state.js';

/** Limits that a standby must not undercut, since it replays the primary's locks and transactions (PostgreSQL, "Hot Standby"). */
export const LIMITS = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
] as const;
const FLOORS: Readonly<Record<string, number>> = {
  max_connections: 20,
  max_worker_processes: 8,
  max_wal_senders: 10,
  max_replication_slots: 10,
};

/**
 * Settings of the agency's server that its applications notice, and that go over to the standby. All else is the site's
 * own: files, addresses, logs, memory, replication. Settings of extensions (with a dot in their name) go over too.
 */
const CARRIED = new Set([
  ...LIMITS,
  ...[
    'max_replication_slots',
    'max_pred_locks_per_transaction',
    'superuser_reserved_connections',
    'reserved_connections',
  ],
  ...['wal_level', 'track_commit_timestamp', 'shared_preload_libraries', 'session_preload_libraries'],
  ...['timezone', 'datestyle', 'intervalstyle', 'timezone_abbreviations', 'default_text_search_config', 'search_path'],
  ...['lc_monetary', 'lc_numeric', 'lc_time', 'bytea_output', 'xmlbinary', 'xmloption', 'extra_float_digits'],
  ...['standard_conforming_strings', 'escape_string_warning', 'backslash_quote', 'array_nulls', 'row_security'],
  ...['quote_all_identifiers', 'transform_null_equals', 'default_toast_compression', 'password_encryption'],
  ...['default_transaction_isolation', 'default_transaction_deferrable', 'default_table_access_method'],
  ...['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout'],
  ...['deadlock_timeout', 'work_mem', 'hash_mem_multiplier', 'temp_buffers', 'temp_file_limit', 'random_page_cost'],
  ...['seq_page_cost', 'default_statistics_target', 'jit', 'plan_cache_mode', 'track_io_timing', 'track_functions'],
  ...['max_parallel_workers', 'max_parallel_workers_per_gather', 'max_parallel_maintenance_workers'],
  ...['autovacuum', 'autovacuum_max_workers', 'autovacuum_naptime', 'autovacuum_vacuum_scale_factor'],
  ...['autovacuum_analyze_scale_factor', 'autovacuum_freeze_max_age', 'autovacuum_multixact_freeze_max_age'],
  ...['max_wal_size', 'min_wal_size', 'checkpoint_timeout', 'checkpoint_completion_target', 'wal_compression'],
]);

const MEGABYTE = 1024 * 1024;

/** Whether a setting of the agency's server goes over to its standby. */
export function isCarried(name: string): boolean {
  return CARRIED.has(name.toLowerCase()) || /^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$/i.test(name);
}

/** Both settings, limits at the higher of the two values. */
export function mergeParameters(
  present: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): Record<string, string> {
  const merged: Record<string, string> = { ...present };
  for (const [name, value] of Object.entries(wanted)) {
    const isLimit = LIMITS.some((limit) => limit === name);
    merged[name] = isLimit ? String(Math.max(Number(value), Number(present[name] ?? 0))) : value;
  }
  return merged;
}

export interface ConfigurationContext {
  readonly paths: StandbyPaths;
  readonly listenAddress: string;
  /** False for data that may be lost, in tests. */
  readonly durable: boolean;
  readonly slotBytesMax: number;
}

/** All of postgresql.conf: the source's own is never used, since it would carry synchronous_standby_names and paths. */
export function standbySettings(
  state: StandbyState,
  context: ConfigurationContext,
): Record<string, ConfigurationValue | undefined> {
  const { paths } = context;
  return {
    ...carriedSettings(state),
    ...limitSettings(state),
    ...memorySettings(state.memoryBytes),
    ...followSettings(state.follow, paths.passfile),
    ...logSettings(paths.logDirectory),
    listen_addresses: context.listenAddress,
    hot_standby: true,
    hot_standby_feedback: false,
    // Only the site's own short queries run on a standby; they must not hold up its replay.
    max_standby_streaming_delay: '1s',
    max_standby_archive_delay: '1s',
    recovery_target_timeline: 'latest',
    wal_receiver_timeout: '10s',
    wal_receiver_status_interval: '1s',
    wal_retrieve_retry_interval: '500ms',
    wal_sender_timeout: '10s',
    synchronous_standby_names: '',
    synchronous_commit: 'on',
    fsync: context.durable,
    full_page_writes: true,
    // pg_rewind needs it when the agency's server comes home.
    wal_log_hints: true,
    archive_mode: 'always',
    archive_command: `/bin/sh ${shellQuote(paths.archiveScript)} "%p" "%f"`,
    // WAL is kept by hard links: a segment that is linked must never be used again for new WAL.
    wal_recycle: false,
    wal_init_zero: false,
    max_slot_wal_keep_size: `${Math.round(context.slotBytesMax / MEGABYTE)}MB`,
    update_process_title: true,
    cluster_name: 'mainstay',
    // Libraries without a folder in their name come from PostgreSQL's own, and nowhere else.
    dynamic_library_path: '$libdir',
    ...tlsSettings(state.tls, paths.certificate),
  };
}

/**
 * pg_hba.conf: the site's own way in first, by a socket in a directory that only the standby's own user and root can
 * enter; then the agency's. Any program of the host reaches the TCP port, other agencies' servers included, so nobody is
 * let in there for coming from this host.
 */
export function standbyHba(state: StandbyState): HbaRule[] {
  const own = { type: 'local', user: 'all', method: 'trust' } as const;
  return [{ ...own, database: 'all' }, { ...own, database: 'replication' }, ...state.hba.map(withPassword)];
}

function withPassword(rule: HbaRule): HbaRule {
  if (rule.type === 'local' || !['trust', 'peer'].includes(rule.method)) return rule;
  const { type, database, user, address } = rule;
  // It checks both kinds of stored passwords.
  return { type, database, user, ...(address === undefined ? {} : { address }), method: 'md5' };
}

function carriedSettings(state: StandbyState): Record<string, string> {
  const refused = new Set(state.refused);
  const entries = Object.entries(state.parameters).filter(([name]) => isCarried(name) && !refused.has(name));
  return Object.fromEntries(
    entries.map(([name, value]) => {
      const lower = name.toLowerCase();
      return [lower, LIBRARY_SETTINGS.some((each) => each === lower) ? bareLibraries(value) : value];
    }),
  );
}

function limitSettings(state: StandbyState): Record<string, number> {
  const names = new Set([...LIMITS, ...Object.keys(FLOORS)]);
  const settings = [...names].map((name) => {
    const values = [Number(state.parameters[name] ?? 0), state.limits[name] ?? 0, FLOORS[name] ?? 0];
    return [name, Math.max(...values.filter(Number.isFinite))] as const;
  });
  // Where nobody named a value, PostgreSQL's own default stays.
  return Object.fromEntries(settings.filter(([, value]) => value > 0));
}

function memorySettings(bytes: number): Record<string, string> {
  const megabytes = (share: number, most: number) =>
    `${Math.max(32, Math.min(most, Math.floor((bytes * share) / MEGABYTE)))}MB`;
  return {
    shared_buffers: megabytes(1 / 4, 16_384),
    effective_cache_size: megabytes(3 / 4, 1_000_000),
    maintenance_work_mem: megabytes(1 / 16, 1_024),
    huge_pages: 'try',
  };
}

function followSettings(follow: FollowedSource | null, passfile: string): Record<string, string> {
  if (!follow) return { primary_conninfo: '', primary_slot_name: '' };
  const conninfo = connectionString({
    host: follow.host,
    port: follow.port,
    user: follow.user,
    passfile,
    application_name: follow.applicationName,
    sslmode: follow.sslmode,
    gssencmode: 'disable',
    connect_timeout: 5,
    keepalives_idle: 5,
    keepalives_interval: 2,
    keepalives_count: 3,
  });
  return { primary_conninfo: conninfo, primary_slot_name: follow.slotName };
}

function logSettings(directory: string): Record<string, ConfigurationValue> {
  return {
    logging_collector: true,
    log_directory: directory,
    // A week of logs, each day's over last week's.
    log_filename: 'postgresql-%a.log',
    log_truncate_on_rotation: true,
    log_rotation_age: '1d',
    log_rotation_size: 0,
    log_line_prefix: '%m [%p] %q%u@%d ',
    // Statements hold the agency's data, and at times its passwords.
    log_statement: 'none',
    log_min_error_statement: 'panic',
    log_min_duration_statement: -1,
    log_parameter_max_length_on_error: 0,
    lc_messages: 'C',
  };
}

function tlsSettings(on: boolean, file: string): Record<string, ConfigurationValue> {
  if (!on) return { ssl: false };
  return { ssl: true, ssl_cert_file: file, ssl_key_file: file, ssl_ca_file: '', ssl_min_protocol_version: 'TLSv1.2' };
}

export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

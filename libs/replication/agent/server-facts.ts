import type { ServerFacts } from '#contracts/replication';
import type { PostgresClient } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { inEachDatabase } from './databases.js';

/** Settings that a standby must not undercut: replay pauses otherwise (PostgreSQL's docs, "Hot Standby"). */
export const LIMITS = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
] as const;

/** Settings that belong to the machine or to the agency's network, and mean nothing at a site. */
const STAYS_AT_HOME = new Set([
  'data_directory',
  'config_file',
  'hba_file',
  'ident_file',
  'external_pid_file',
  'listen_addresses',
  'port',
  'unix_socket_directories',
  'unix_socket_group',
  'unix_socket_permissions',
  'synchronous_standby_names',
  'max_slot_wal_keep_size',
  'primary_conninfo',
  'primary_slot_name',
  'restore_command',
  'archive_command',
  'archive_library',
  'archive_cleanup_command',
  'recovery_end_command',
  'ssl',
  'ssl_cert_file',
  'ssl_key_file',
  'ssl_ca_file',
  'ssl_crl_file',
  'ssl_crl_dir',
  'ssl_dh_params_file',
  'log_directory',
  'log_filename',
  'stats_temp_directory',
  'krb_server_keyfile',
]);

interface HbaRow {
  readonly type: string;
  readonly database: string[];
  readonly user: string[];
  readonly address: string | null;
  readonly netmask: string | null;
  readonly method: string;
}

interface FactsRow extends Omit<ServerFacts, 'preloadLibraries' | 'sizeBytes' | 'hbaRules' | 'extensions'> {
  readonly preloadLibraries: string;
  readonly sizeBytes: string;
  readonly hbaRules: HbaRow[];
  /** Values of the limits that wait in a file for a restart. */
  readonly pending: Record<string, string>;
}

// Rules in the order in which they are read, also from files that others include; up to the first faulty one, which may
// have refused somebody whom a later one lets in.
const QUERY = `SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
    current_setting('server_version_num')::int / 10000 AS "majorVersion",
    (SELECT system_identifier::text FROM pg_control_system()) AS "systemIdentifier",
    (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
    (SELECT rolname FROM pg_roles WHERE oid = 10) AS superuser,
    current_setting('shared_preload_libraries') AS "preloadLibraries",
    (SELECT coalesce(sum(pg_database_size(oid)), 0)::text FROM pg_database) AS "sizeBytes",
    current_setting('data_checksums')::boolean AS "dataChecksums",
    current_setting('wal_log_hints')::boolean AS "walLogHints",
    coalesce((SELECT json_object_agg(name, current_setting(name)) FROM pg_settings
      WHERE context <> 'internal' AND (name = ANY ($1) OR source IN ('configuration file', 'command line'))
      AND NOT name = ANY ($2)), '{}') AS parameters,
    coalesce((SELECT json_object_agg(name, setting) FROM (SELECT DISTINCT ON (name) name, setting FROM pg_file_settings
      WHERE name = ANY ($1) ORDER BY name, seqno DESC) AS f), '{}') AS pending,
    coalesce((SELECT json_agg(json_build_object('oid', oid::int8, 'name', spcname,
      'location', pg_tablespace_location(oid))) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''), '[]')
      AS tablespaces,
    coalesce((SELECT json_agg(json_build_object('provider', provider, 'version', version)) FROM (
      SELECT 'libc' AS provider, max(pg_collation_actual_version(oid)) AS version FROM pg_collation WHERE collprovider = 'c'
      UNION SELECT 'icu', max(pg_collation_actual_version(oid)) FROM pg_collation WHERE collname = 'und-x-icu') AS c
      WHERE version IS NOT NULL), '[]') AS collations,
    coalesce((SELECT json_agg(json_build_object('type', type, 'database', database, 'user', user_name,
      'address', address, 'netmask', netmask, 'method', auth_method) ORDER BY ordinality)
      FROM (SELECT *, count(error) OVER (ORDER BY ordinality) AS faults
        FROM pg_hba_file_rules() WITH ORDINALITY AS rules) AS r WHERE faults = 0), '[]') AS "hbaRules"`;

/** What a site must know of the server to build a standby of it. Needs a superuser's connection. */
export async function readServerFacts(workload: PostgresWorkload, client: PostgresClient): Promise<ServerFacts> {
  const { rows } = await client.query<FactsRow>(QUERY, [[...LIMITS], [...STAYS_AT_HOME]]);
  const [row] = rows;
  if (!row) throw new Error('the server gave no row');
  const { pending, ...facts } = row;
  const parameters = { ...facts.parameters };
  // A rise that waits for a restart reaches the sites first: a standby below its primary stops replaying.
  for (const name of LIMITS) {
    const risen = Math.max(Number(parameters[name] ?? 0), Number(pending[name] ?? 0));
    if (Number.isFinite(risen)) parameters[name] = String(risen);
  }
  const extensions = await inEachDatabase(workload, client, async (database, each) => {
    const found = await each.query<{ name: string; version: string }>(
      "SELECT extname AS name, extversion AS version FROM pg_extension WHERE extname <> 'plpgsql'",
    );
    return found.rows.map((extension) => ({ database, ...extension }));
  });
  return {
    ...facts,
    parameters,
    preloadLibraries: facts.preloadLibraries.split(',').flatMap((name) => name.trim() || []),
    sizeBytes: Number(facts.sizeBytes),
    hbaRules: facts.hbaRules.map(({ netmask, ...rule }) => ({ ...rule, address: withPrefix(rule.address, netmask) })),
    extensions: extensions.flat(),
  };
}

/** `127.0.0.1` and `255.255.255.255` → `127.0.0.1/32`, as pg_hba.conf takes it. Names and keywords stay. */
export function withPrefix(address: string | null, netmask: string | null): string | null {
  if (address === null || netmask === null) return address;
  return `${address}/${prefixLength(netmask)}`;
}

function prefixLength(netmask: string): number {
  if (netmask.includes('.')) {
    return netmask.split('.').reduce((bits, part) => bits + ones(Number(part)), 0);
  }
  // `ffff:ffff::`: what `::` leaves out is zero.
  return netmask.split(':').reduce((bits, part) => bits + ones(Number.parseInt(part || '0', 16)), 0);
}

function ones(value: number): number {
  return value.toString(2).replaceAll('0', '').length;
}

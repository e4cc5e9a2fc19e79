import type { PostgresClient } from '#libs/platform/postgres';

export interface Setting {
  readonly name: string;
  /** What sessions begin with, in the base unit. */
  readonly value: string;
  readonly source: string;
  readonly pendingRestart: boolean;
  /** What the files say for after the next restart; null when nothing does. */
  readonly inFile: string | null;
}

export interface HbaLine {
  readonly line: number;
  readonly type: string;
  readonly database: readonly string[];
  readonly user: readonly string[];
  readonly address: string | null;
  readonly netmask: string | null;
  readonly method: string;
  readonly error: string | null;
}

export interface ServerSlot {
  readonly name: string;
  readonly type: 'physical' | 'logical';
  readonly database: string | null;
}

/** What one look at the server gathers; the checks are functions of it. */
export interface ServerLook {
  readonly versionText: string;
  readonly version: string;
  readonly majorVersion: number;
  readonly inRecovery: boolean;
  readonly user: string;
  readonly superuser: boolean;
  readonly mayReplicate: boolean;
  readonly dataDirectory: string | null;
  readonly systemIdentifier: string | null;
  readonly settings: Readonly<Record<string, Setting>>;
  readonly roles: readonly string[];
  readonly walSenders: number;
  readonly slots: readonly ServerSlot[];
  /** `ALTER ROLE … SET synchronous_commit`, as written: `synchronous_commit=off`. */
  readonly overrides: readonly {
    readonly role: string | null;
    readonly database: string | null;
    readonly value: string;
  }[];
  readonly hbaLines: readonly HbaLine[] | null;
  readonly tablespaces: readonly { readonly name: string; readonly location: string }[];
  /** Of the databases that can be connected to; `icu` is null for one that sorts by the C library. */
  readonly locales: readonly { readonly collate: string; readonly ctype: string; readonly icu: string | null }[];
  /** Files that high-availability managers leave in the data directory. */
  readonly markers: readonly string[];
}

/** Only what every role may ask: before it is known that the agent is a superuser. */
const PUBLIC = `SELECT version() AS "versionText", split_part(current_setting('server_version'), ' ', 1) AS version,
    current_setting('server_version_num')::int / 10000 AS "majorVersion", pg_is_in_recovery() AS "inRecovery",
    current_user AS "user", r.rolsuper AS superuser, r.rolreplication OR r.rolsuper AS "mayReplicate",
    (SELECT json_agg(rolname) FROM pg_roles) AS roles,
    (SELECT json_agg(json_build_object('name', spcname, 'location', pg_tablespace_location(oid))) FROM pg_tablespace
      WHERE pg_tablespace_location(oid) <> '') AS tablespaces,
    (SELECT json_agg(json_build_object('collate', datcollate, 'ctype', datctype,
        'icu', coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale'))) FROM pg_database AS d
      WHERE datallowconn) AS locales,
    (SELECT count(*)::int FROM pg_stat_replication) AS "walSenders",
    (SELECT json_agg(json_build_object('name', slot_name, 'type', slot_type, 'database', database))
      FROM pg_replication_slots) AS slots,
    (SELECT json_agg(json_build_object('role', (SELECT rolname FROM pg_roles WHERE oid = setrole),
        'database', (SELECT datname FROM pg_database WHERE oid = setdatabase), 'value', value))
      FROM pg_db_role_setting, unnest(setconfig) AS value WHERE value LIKE 'synchronous_commit=%') AS overrides,
    (SELECT json_object_agg(name, json_build_object('name', name, 'value', reset_val, 'source', source,
      'pendingRestart', pending_restart)) FROM pg_settings) AS settings
  FROM pg_roles AS r WHERE r.rolname = current_user`;

const PRIVILEGED = `SELECT current_setting('data_directory') AS "dataDirectory",
    (SELECT system_identifier::text FROM pg_control_system()) AS "systemIdentifier",
    (SELECT json_object_agg(name, setting) FROM (SELECT DISTINCT ON (name) name, setting FROM pg_file_settings
      WHERE name IS NOT NULL ORDER BY name, seqno DESC) AS f) AS "inFiles",
    (SELECT json_agg(json_build_object('line', line_number, 'type', type, 'database', database, 'user', user_name,
      'address', address, 'netmask', netmask, 'method', auth_method, 'error', error) ORDER BY ordinality)
      FROM pg_hba_file_rules() WITH ORDINALITY AS rules) AS "hbaLines",
    (SELECT json_agg(name) FROM pg_ls_dir('.') AS name WHERE name ~ '^(patroni|postgresql\\.base\\.conf|pg_autoctl|repmgr)')
      AS markers`;

type PublicRow = Omit<ServerLook, 'dataDirectory' | 'systemIdentifier' | 'hbaLines' | 'markers' | 'settings'> & {
  settings: Record<string, Omit<Setting, 'inFile'>>;
};
interface PrivilegedRow {
  dataDirectory: string;
  systemIdentifier: string;
  inFiles: Record<string, string> | null;
  hbaLines: HbaLine[] | null;
  markers: string[] | null;
}

/** Two queries; neither takes a lock that anybody could notice. */
export async function lookAtServer(client: PostgresClient): Promise<ServerLook> {
  const open = (await client.query<PublicRow>(PUBLIC)).rows[0];
  if (!open) throw new Error('the server gave no row');
  const privileged = open.superuser ? (await client.query<PrivilegedRow>(PRIVILEGED)).rows[0] : undefined;
  const settings = Object.fromEntries(
    Object.entries(open.settings).map(([name, setting]) => [
      name,
      { ...setting, inFile: privileged?.inFiles?.[name] ?? null },
    ]),
  );
  return {
    ...open,
    roles: open.roles ?? [],
    tablespaces: open.tablespaces ?? [],
    slots: open.slots ?? [],
    locales: open.locales ?? [],
    overrides: open.overrides ?? [],
    settings,
    dataDirectory: privileged?.dataDirectory ?? null,
    systemIdentifier: privileged?.systemIdentifier ?? null,
    hbaLines: privileged?.hbaLines ?? null,
    markers: privileged?.markers ?? [],
  };
}

/** A setting's value in its base unit; undefined where this version does not have it. */
export function valueOf(look: ServerLook, name: string): string | undefined {
  return look.settings[name]?.value;
}

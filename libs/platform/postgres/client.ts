import type { Duplex } from 'node:stream';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import pg from 'pg';

export interface ConnectOptions {
  /** A host name, an address, or the directory of a Unix socket (begins with `/`). Unused with `stream`. */
  readonly host?: string;
  readonly port?: number;
  readonly user: string;
  readonly password?: string;
  readonly database?: string;
  /** Shown in pg_stat_activity; also what synchronous_standby_names matches, so never leave it to chance. */
  readonly applicationName: string;
  /** 5 s when left out. */
  readonly connectionTimeoutMs?: number;
  /** The server gives up a statement after so long; unlimited when left out. */
  readonly statementTimeoutMs?: number;
  /** Settings of this session, which win over what the cluster has for the role or the database. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly ssl?: boolean | TlsOptions;
  /** A connection that already exists, such as a stream of the tunnel, instead of host and port. */
  readonly stream?: () => Duplex;
  /** `database` for a replication connection that also speaks SQL. */
  readonly replication?: 'database' | 'true';
}

/** One open connection. */
export type PostgresClient = pg.Client;

/**
 * Opens one connection. Errors of an idle connection do not end the process: the next query fails instead.
 *
 * @throws whatever pg throws, within the time-out.
 */
export async function connect(options: ConnectOptions): Promise<PostgresClient> {
  const client = new pg.Client({
    host: options.host,
    port: options.port,
    user: options.user,
    // A function, because for an empty string pg falls back to PGPASSWORD and ~/.pgpass of our own process.
    password: () => options.password ?? '',
    database: options.database ?? 'postgres',
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectionTimeoutMs ?? 5_000,
    statement_timeout: options.statementTimeoutMs ?? false,
    keepAlive: true,
    ssl: options.ssl ?? false,
    ...(options.settings ? { options: startupOptions(options.settings) } : {}),
    ...(options.stream ? { stream: options.stream } : {}),
    ...(options.replication ? { replication: options.replication } : {}),
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    await client.end();
    throw error;
  }
  return client;
}

/** As PostgreSQL's command line takes them: white space and backslashes are escaped. */
function startupOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\\s]/g, String.raw`\$&`)}`)
    .join(' ');
}

/** Opens a connection for one piece of work and closes it, whatever happens. */
export async function withClient<T>(options: ConnectOptions, work: (client: PostgresClient) => Promise<T>): Promise<T> {
  const client = await connect(options);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** `weird"name` → `"weird""name"`. */
export function quoteIdentifier(name: string): string {
  if (name.includes('\0')) throw new RangeError('an identifier must not hold a zero byte');
  return `"${name.replaceAll('"', '""')}"`;
}

/** A string literal for SQL, whatever standard_conforming_strings says. */
export function quoteLiteral(value: string): string {
  if (value.includes('\0')) throw new RangeError('a literal must not hold a zero byte');
  const quoted = `'${value.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  return value.includes('\\') ? ` E${quoted}` : quoted;
}

/**
 * Key/value pairs → libpq's connection string (`host='…' port='…'`), undefined ones left out. Its own quoting is not
 * that of postgresql.conf: give the result to renderConfiguration for primary_conninfo.
 */
export function connectionString(parameters: Readonly<Record<string, string | number | undefined>>): string {
  return Object.entries(parameters)
    .filter((entry): entry is [string, string | number] => entry[1] !== undefined)
    .map(([name, value]) => `${name}='${String(value).replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
    .join(' ');
}

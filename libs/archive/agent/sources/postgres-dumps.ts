import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  connect,
  connectionString,
  findPostgres,
  type PostgresClient,
  type PostgresInstallation,
  renderPgpass,
} from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { ArchiveWorkError } from '../errors.js';
import type { Faults } from '../work/outcome.js';
import type { SourcePart } from './source-part.js';

const APPLICATION = 'mainstay-agent archive';
/** A dump does not queue for ever behind a change of a table, with all others behind it. */
const LOCK_WAIT_MS = 600_000;
export const GLOBALS = { part: 'globals', fileName: 'globals.sql' } as const;

/** @throws ArchiveWorkError when the server does not let the agent in */
export async function onServer<T>(
  workload: PostgresWorkload,
  work: (client: PostgresClient) => Promise<T>,
): Promise<T> {
  let client: PostgresClient | undefined;
  try {
    const password = await passwordOf(workload);
    client = await connect({
      host: workload.socketDirectory ?? workload.host,
      port: workload.port,
      user: workload.user,
      applicationName: APPLICATION,
      statementTimeoutMs: 60_000,
      ...(password === undefined ? {} : { password }),
    });
    return await work(client);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ArchiveWorkError(
      'server-unreachable',
      `The PostgreSQL server of "${workload.name}" does not answer the agent: ${why}`,
      { cause },
    );
  } finally {
    await client?.end().catch(() => undefined);
  }
}

/** The databases that a client can enter, without templates. */
export async function databasesOf(client: PostgresClient): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    'SELECT datname AS name FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname',
  );
  return rows.map(({ name }) => name);
}

/** pg_dump of the server's own version: an older one refuses, a newer one may write what the server cannot read. */
export async function dumpTools(workload: PostgresWorkload, client: PostgresClient): Promise<PostgresInstallation> {
  const { rows } = await client.query<{ version: number }>(
    "SELECT current_setting('server_version_num')::int AS version",
  );
  const version = Math.floor((rows[0]?.version ?? 0) / 10_000);
  const searchPath = workload.binDirectory === undefined ? {} : { searchPath: [workload.binDirectory] };
  return findPostgres({ version, ...searchPath });
}

/**
 * A dump of each database and one of roles and tablespaces. A database that agent.json names and the server does not have
 * is a fault.
 *
 * @param directory the work's own, for the file with the password
 * @throws ArchiveWorkError
 */
export async function dumpParts(workload: PostgresWorkload, directory: string, faults: Faults): Promise<SourcePart[]> {
  const { present, tools } = await onServer(workload, async (client) => ({
    present: await databasesOf(client),
    tools: await dumpTools(workload, client),
  }));
  const wanted = workload.archive?.databases ?? present;
  for (const name of wanted) if (!present.includes(name)) faults.add(name, 'The server has no such database.');
  const env = { PGCONNECT_TIMEOUT: '10', PGPASSFILE: await passFile(workload, directory) };
  const reach = (dbname: string) =>
    `--dbname=${connectionString({
      host: workload.socketDirectory ?? workload.host,
      port: workload.port,
      user: workload.user,
      dbname,
      application_name: APPLICATION,
    })}`;
  const tool = (name: string) => path.join(tools.binDirectory, name);
  const globals = {
    ...GLOBALS,
    env,
    command: [tool('pg_dumpall'), '--globals-only', '--no-password', reach('postgres')],
  };
  const dumps = wanted
    .filter((name) => present.includes(name))
    .map((name) => ({
      part: name,
      fileName: `${fileNameOf(name)}.dump`,
      env,
      // Uncompressed, so that what has not changed is not stored again; restic compresses.
      command: [
        tool('pg_dump'),
        '--format=custom',
        '--compress=0',
        '--no-password',
        `--lock-wait-timeout=${LOCK_WAIT_MS}`,
        reach(name),
      ],
    }));
  return [globals, ...dumps];
}

/** A database's name may hold anything; a file's name may not. */
export function fileNameOf(database: string): string {
  return database.replaceAll(/[/%\\]|^\./g, (character) => encodeURIComponent(character).replace('.', '%2E'));
}

async function passwordOf({ passwordFile }: PostgresWorkload): Promise<string | undefined> {
  return passwordFile === undefined ? undefined : (await readFile(passwordFile, 'utf8')).trim();
}

async function passFile(workload: PostgresWorkload, directory: string): Promise<string> {
  const file = path.join(directory, 'pgpass');
  const password = await passwordOf(workload);
  const { user } = workload;
  // libpq looks a socket directory up as "localhost" or as itself, depending on how it was compiled.
  const text = password === undefined ? '' : renderPgpass([{ host: '*', port: '*', database: '*', user, password }]);
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { Injectable } from '@nestjs/common';
import type { ArchivePolicy, Proof } from '#contracts/archive';
import { DomainError, errorText } from '#libs/platform/errors';
import { type PostgresClient, PostgresToolError, quoteIdentifier } from '#libs/platform/postgres';
import { ProofScratch } from './proof-scratch.js';
import { CHECKER, giveAll, ScratchPostgres } from './scratch-postgres.js';

export type ProofCheck = Proof['checks'][number];
type AgencyCheck = ArchivePolicy['checks'][number];

export interface DumpQuestions {
  readonly checks: readonly AgencyCheck[];
  /** Rows by table of the proof before. */
  readonly before: Readonly<Record<string, number>> | null;
  /** What `pg_dumpall --globals-only` said in the same run. */
  readonly globals: string | null;
}

export interface DumpFindings {
  readonly checks: readonly ProofCheck[];
  readonly rowCounts: Readonly<Record<string, number>>;
  /** Of the load alone. */
  readonly seconds: number;
}

/** The dump cannot be loaded here, whatever it holds: something is not installed. */
export class NotLoadableError extends DomainError {
  constructor(what: string) {
    super(
      'unavailable',
      'proof.not-installed',
      `The site cannot load this dump: ${what}. The provider must install it.`,
    );
  }
}
/** The server did not take the dump in. */
export class LoadFailedError extends DomainError {
  constructor(what: string) {
    super('internal', 'proof.load', `The dump could not be loaded: ${what}`);
  }
}

const CHECK_MS = 60_000;
const FOUND_CHARACTERS = 300;
/** Of so many tables each number is told; of all together the sum. */
const TABLES_TOLD = 100;

/** Loads a dump into a server of its own, counts its rows, and asks what the agency wanted to be asked. */
@Injectable()
export class DumpProof {
  constructor(private readonly scratch: ProofScratch) {}

  /**
   * @param folder of {@link ProofScratch}, whose `files` holds the dump
   * @throws NotLoadableError, LoadFailedError
   */
  async load(folder: string, asked: DumpQuestions, signal: AbortSignal): Promise<DumpFindings> {
    const identity = await this.scratch.identity(folder);
    const files = path.join(folder, 'files');
    if (identity.switched) await giveAll(files, identity);
    const file = await dumpIn(files);
    const major = await ScratchPostgres.majorOf(file, identity, signal).catch(failedToLoad);
    if (major === undefined) throw new LoadFailedError('it does not say which PostgreSQL it is from');
    const server = await ScratchPostgres.start(folder, major, identity).catch((error: unknown) => {
      if (error instanceof DomainError && error.code === 'postgres.not-found')
        throw new NotLoadableError(error.message);
      throw error;
    });
    try {
      if (asked.globals !== null) await server.roles(asked.globals);
      const began = performance.now();
      const database = await server.load(file, signal).catch(failedToLoad);
      const seconds = (performance.now() - began) / 1_000;
      const loaded = { name: 'load', passed: true, found: `loaded into PostgreSQL ${server.version}` };
      const rowCounts = await countRows(server, database, signal);
      const answers = await askAll(server, database, asked.checks, signal);
      return { checks: [loaded, ...told(rowCounts, asked.before), ...answers], rowCounts, seconds };
    } finally {
      await server.stop();
    }
  }
}

async function dumpIn(folder: string): Promise<string> {
  const [name] = (await readdir(folder)).filter((file) => file.endsWith('.dump'));
  if (name === undefined) throw new LoadFailedError('there is no dump in it');
  return path.join(folder, name);
}

function failedToLoad(error: unknown): never {
  if (!(error instanceof PostgresToolError) || error.reason !== 'failed') throw error;
  const said = error.detail ?? '';
  const missing =
    /extension "([^"]+)" is not available|could not open extension control file "[^"]*\/([^"/]+)\.control/.exec(said);
  if (missing) throw new NotLoadableError(`the extension ${missing[1] ?? missing[2]} is missing`);
  throw new LoadFailedError(said.split('\n').find((line) => line.includes('error:')) ?? said.slice(0, 500));
}

async function countRows(
  server: ScratchPostgres,
  database: string,
  signal: AbortSignal,
): Promise<Record<string, number>> {
  const client = await server.connect(database);
  try {
    const { rows } = await client.query<{ schema: string; name: string }>(
      `SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2`,
    );
    const counts: Record<string, number> = {};
    for (const { schema, name } of rows) {
      signal.throwIfAborted();
      const table = `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
      const counted = await client.query<{ count: string }>(`SELECT count(*) FROM ${table}`);
      counts[`${schema}.${name}`] = Number(counted.rows[0]?.count);
    }
    return counts;
  } finally {
    await client.end();
  }
}

function told(counts: Readonly<Record<string, number>>, before: Readonly<Record<string, number>> | null): ProofCheck[] {
  const sum = (rows: Readonly<Record<string, number>>) => Object.values(rows).reduce((all, count) => all + count, 0);
  const last = (count: number | undefined) => (before ? ` (the proof before: ${count ?? 'no such table'})` : '');
  const tables = Object.entries(counts);
  const all = `${sum(counts)} in ${tables.length} tables${before ? last(sum(before)) : ''}`;
  const gone = Object.keys(before ?? {}).filter((table) => !(table in counts));
  return [
    { name: 'rows', passed: true, found: all },
    ...gone
      .slice(0, 20)
      .map((table) => ({ name: `rows of ${table}`.slice(0, 200), passed: true, found: 'no such table any more' })),
    ...tables.slice(0, TABLES_TOLD).map(([table, count]) => ({
      name: `rows of ${table}`.slice(0, 200),
      passed: true,
      found: `${count}${last(before?.[table])}`,
    })),
  ];
}

async function askAll(
  server: ScratchPostgres,
  database: string,
  checks: readonly AgencyCheck[],
  signal: AbortSignal,
): Promise<ProofCheck[]> {
  const answers: ProofCheck[] = [];
  for (const check of checks) {
    signal.throwIfAborted();
    // A connection of its own for each: whatever one query does to its session, the next does not see.
    const client = await server.connect(database, CHECKER, CHECK_MS);
    try {
      answers.push(await ask(client, check));
    } finally {
      await client.end().catch(() => undefined);
    }
  }
  return answers;
}

async function ask(client: PostgresClient, { name, sql, atLeast }: AgencyCheck): Promise<ProofCheck> {
  try {
    await client.query('BEGIN READ ONLY');
    // One statement, whatever it holds, and the beginning of one value of it: the server cuts it, so that no value of
    // hundreds of megabytes comes into this process.
    const text = `SELECT left(first_of_check::text, ${FOUND_CHARACTERS}) FROM (\n${sql.trim().replace(/;+$/, '')}\n) AS checked (first_of_check) LIMIT 1`;
    const { rows } = await client.query<(string | null)[]>({ text, rowMode: 'array', queryMode: 'extended' } as never);
    const value = rows[0]?.[0] ?? null;
    const passed = value !== null && value !== '' && numberOf(value) >= atLeast;
    return { name, passed, found: `${value ?? 'nothing'} (at least ${atLeast})` };
  } catch (error) {
    return { name, passed: false, found: errorText(error).slice(0, 500) };
  }
}

/** A truth counts as 1. */
const numberOf = (value: string): number => Number({ true: '1', false: '0' }[value] ?? value);

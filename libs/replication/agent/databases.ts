import type { PostgresClient } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { withConnection } from './connection.js';

/** Runs a look in each database that takes connections, one after another; one connection more than the kept one. */
export async function inEachDatabase<T>(
  workload: PostgresWorkload,
  client: PostgresClient,
  look: (database: string, each: PostgresClient) => Promise<T>,
): Promise<T[]> {
  const { rows } = await client.query<{ name: string }>(
    'SELECT datname AS name FROM pg_database WHERE datallowconn ORDER BY datname',
  );
  const found: T[] = [];
  for (const { name } of rows) {
    found.push(
      await withConnection(workload, (each) => look(name, each), { database: name, statementTimeoutMs: 10_000 }),
    );
  }
  return found;
}

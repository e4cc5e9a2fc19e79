import type { PostgresClient } from '#libs/platform/postgres';
import { NamesBusyError } from './errors.js';
import { NAMES_LOCK } from './sample.js';

/**
 * Runs a change of synchronous_standby_names while nobody else of the agent's makes one: tunnel and commands are two
 * processes. The lock is the session's: what a dead process has sent keeps it until it is through, and as long as anybody
 * has it nobody answers "armed".
 *
 * @throws NamesBusyError, and what the work throws
 */
export async function underNamesLock<T>(client: PostgresClient, work: () => Promise<T>): Promise<T> {
  const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS locked', [
    ...NAMES_LOCK,
  ]);
  if (!rows[0]?.locked) throw new NamesBusyError();
  try {
    return await work();
  } finally {
    await client.query('SELECT pg_advisory_unlock($1, $2)', [...NAMES_LOCK]);
  }
}

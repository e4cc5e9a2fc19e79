import { waitFor } from '#libs/platform/clock';
import { errorCode } from '#libs/platform/errors';
import type { PostgresClient } from '#libs/platform/postgres';

const CANNOT_CONNECT_NOW = '57P03';
const STARTING_MS = 15_000;
/** A backup may wait so long for a checkpoint; everything else is a matter of milliseconds. */
const STATEMENT_MS = 600_000;
const LOCK_MS = 10_000;

/**
 * Settings of the site's own sessions. They are a superuser's in a catalog that is the agency's, whose settings for that
 * role and for the databases would otherwise hold: what is searched, what is loaded, when a statement is given up.
 *
 * @param statementMs 0 for no end
 */
export function siteSession(majorVersion: number, statementMs = STATEMENT_MS): Record<string, string> {
  return {
    search_path: 'pg_catalog',
    session_preload_libraries: '',
    local_preload_libraries: '',
    dynamic_library_path: '$libdir',
    statement_timeout: String(statementMs),
    lock_timeout: String(LOCK_MS),
    idle_in_transaction_session_timeout: '0',
    // A backup's session is idle while the files are copied.
    ...(majorVersion >= 14 ? { idle_session_timeout: '0' } : {}),
    // A login trigger would run in our name.
    ...(majorVersion >= 17 ? { event_triggers: 'off' } : {}),
  };
}

/** Tries again while the server says that it is starting; throws what else it says. */
export async function connectPatiently(attempt: () => Promise<PostgresClient>): Promise<PostgresClient> {
  const result = await waitFor('the server to take connections', () => unlessStarting(attempt()), {
    timeoutMs: STARTING_MS,
    everyMs: 20,
  });
  if ('error' in result) throw result.error;
  return result.client;
}

type Attempt = { readonly client: PostgresClient } | { readonly error: unknown };

/** Undefined while the server says that it is starting; an error of another kind ends the waiting. */
async function unlessStarting(connecting: Promise<PostgresClient>): Promise<Attempt | undefined> {
  try {
    return { client: await connecting };
  } catch (error) {
    return errorCode(error) === CANNOT_CONNECT_NOW ? undefined : { error };
  }
}

import { waitFor } from '#libs/platform/clock';
import { readPlain, withDirectory, type PostgresClient } from '#libs/platform/postgres';
import type { Promotion } from './driver.js';
import { StandbyError } from './errors.js';

const PROMOTE_MS = 120_000;
const LOOK_MS = 5;
/** How often the server is asked again, in looks. */
const ASK_EVERY = 16;

/**
 * Promotes unless that is done, and waits until the server takes writes; all that is in pg_wal is replayed first.
 *
 * It asks again every 80 ms: PostgreSQL 15 can miss the wake-up when its source died just before, and then begins only
 * after `wal_retrieve_retry_interval` (measured: 3 of 27 promotions took 5.1 s at its default; a second request woke
 * it at once).
 */
export async function promoteServer(client: PostgresClient): Promise<void> {
  let looks = 0;
  await waitFor(
    'the promotion',
    async () => {
      if (!(await isInRecovery(client))) return true;
      if (looks++ % ASK_EVERY === 0) await askToPromote(client);
      return false;
    },
    { timeoutMs: PROMOTE_MS, everyMs: LOOK_MS },
  );
}

/** Without pg_promote's own wait, which looks only ten times a second. */
async function askToPromote(client: PostgresClient): Promise<void> {
  try {
    await client.query('SELECT pg_promote(false)');
  } catch (error) {
    // It ended recovery between our look and our question: then it is promoted.
    if (await isInRecovery(client)) throw error;
  }
}

/** The timeline that the server writes, and where it left the one before, from its history file. */
export async function readPromotion(client: PostgresClient, dataDirectory: string): Promise<Promotion> {
  const { rows } = await client.query<{ file: string }>('SELECT pg_walfile_name(pg_current_wal_lsn()) AS file');
  const timeline = Number.parseInt(rows[0]?.file.slice(0, 8) ?? '', 16);
  const forkLsn = lastFork(await readHistory(dataDirectory, timeline));
  if (!forkLsn) {
    throw new StandbyError('The server takes writes, but was never promoted: it is no standby of ours.', {
      detail: `timeline ${timeline} has no history`,
    });
  }
  return { timeline, forkLsn };
}

/** One commit with content: an empty one would be acknowledged before it is on disk. */
export async function commitOnce(client: PostgresClient): Promise<void> {
  if (await isInRecovery(client)) throw new StandbyError('The server is a standby and takes no writes yet.');
  await client.query('BEGIN READ WRITE');
  await client.query("SELECT pg_logical_emit_message(true, 'mainstay', 'writable')");
  const { command } = await client.query('COMMIT');
  // After a failed statement COMMIT rolls back, and says so only here.
  if (command !== 'COMMIT') throw new StandbyError('The server did not commit a write.', { detail: command });
}

async function isInRecovery(client: PostgresClient): Promise<boolean> {
  const { rows } = await client.query<{ recovery: boolean }>('SELECT pg_is_in_recovery() AS recovery');
  return rows[0]?.recovery ?? true;
}

async function readHistory(dataDirectory: string, timeline: number): Promise<string> {
  const name = `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`;
  return withDirectory(dataDirectory, ['pg_wal'], async (log) => {
    const names = (await log.entries()).map((entry) => entry.name);
    return names.includes(name) ? (await readPlain(log.name(name))).toString('utf8') : '';
  });
}

/** A history file has one line per former timeline: number, where it was left, why. */
function lastFork(history: string): string | undefined {
  const lines = history.split('\n').filter((line) => /^\d+\t/.test(line));
  return lines.at(-1)?.split('\t')[1];
}

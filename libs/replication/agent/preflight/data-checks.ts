import { access, constants, statfs } from 'node:fs/promises';
import path from 'node:path';
import type { Finding } from '#contracts/replication';
import { listPostgres, type PostgresClient } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { inEachDatabase } from '../databases.js';
import { derivedSlotLimit } from '../server-settings.js';
import { blocker, information, listed, warning } from './finding.js';
import { describeSlots } from './server-checks.js';
import { valueOf, type ServerLook } from './server-look.js';

const GIB = 1_073_741_824;
/** Below this share or this many bytes, the next slow hour of a line fills the disk. */
const DISK_BLOCKER = { share: 0.03, bytes: 0.5 * GIB };
const DISK_WARNING = { share: 0.1, bytes: 5 * GIB };

/** The disks of the data and of the log. @param free for tests: answers bytes free and in all. */
export async function checkDisk(
  workload: PostgresWorkload,
  free: (directory: string) => Promise<{ free: number; total: number }> = diskSpace,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (const directory of [path.join(workload.dataDirectory, 'pg_wal'), workload.dataDirectory]) {
    // A directory that cannot be looked at is a finding of its own (`machine.data-directory-unreadable`).
    const space = await free(directory).catch(() => undefined);
    if (!space) continue;
    const key = `${space.free} ${space.total}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const below = (limit: typeof DISK_BLOCKER) => space.free < limit.bytes || space.free / space.total < limit.share;
    if (!below(DISK_WARNING)) continue;
    const make = below(DISK_BLOCKER) ? blocker : warning;
    findings.push(
      make(
        below(DISK_BLOCKER) ? 'disk.full' : 'disk.nearly-full',
        `The disk of ${directory} has ${(space.free / GIB).toFixed(1)} GiB free of ${(space.total / GIB).toFixed(1)} GiB.`,
        'Make room: while a line is down, the log that a site lacks is kept here.',
      ),
    );
  }
  return findings;
}

async function diskSpace(directory: string): Promise<{ free: number; total: number }> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { free: bavail * bsize, total: blocks * bsize };
}

/** May this process read the data directory, and are the programs of the server's version here? */
export async function checkMachine(look: ServerLook, workload: PostgresWorkload): Promise<Finding[]> {
  const findings: Finding[] = [];
  const readable = await access(path.join(workload.dataDirectory, 'PG_VERSION'), constants.R_OK).then(
    () => true,
    () => false,
  );
  if (!readable) {
    findings.push(
      blocker(
        'machine.data-directory-unreadable',
        `The agent cannot read ${workload.dataDirectory}.`,
        'Run the agent on the machine of the server, as the user postgres or as root.',
      ),
    );
  }
  const found = await listPostgres(workload.binDirectory === undefined ? undefined : [workload.binDirectory]);
  if (!found.some(({ majorVersion }) => majorVersion === look.majorVersion)) {
    findings.push(
      blocker(
        'machine.tools-missing',
        `The programs of PostgreSQL ${look.majorVersion} (pg_receivewal, pg_waldump) are not found on this machine.`,
        `Install them (apt-get install -y postgresql-${look.majorVersion}), or name their directory as "binDirectory" in agent.json.`,
      ),
    );
  }
  return findings;
}

/** What is in the databases that replication treats in its own way. */
export async function describeData(
  look: ServerLook,
  workload: PostgresWorkload,
  client: PostgresClient,
  ourSlots: ReadonlySet<string>,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const perDatabase = await inEachDatabase(workload, client, async (database, each) => {
    const unlogged = await each.query<{ name: string }>(
      "SELECT oid::regclass::text AS name FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r' LIMIT 100",
    );
    return unlogged.rows.map(({ name }) => `${database}: ${name}`);
  });
  const unlogged = perDatabase.flat();
  if (unlogged.length > 0) {
    findings.push(
      warning(
        'data.unlogged-tables',
        `${unlogged.length} unlogged tables are empty after a failover: ${listed(unlogged)}.`,
        'If their content matters: ALTER TABLE … SET LOGGED;',
      ),
    );
  }
  const slots = describeSlots(look, ourSlots);
  if (slots.logical) {
    findings.push(
      warning(
        'data.logical-slots',
        `Logical replication slots do not follow a failover: ${slots.logical}.`,
        'Their consumers must be set up again at the site; write down what they are for.',
      ),
    );
  }
  if (look.tablespaces.length > 0) {
    findings.push(
      information(
        'data.tablespaces',
        `There are tablespaces: ${listed(look.tablespaces.map(({ name, location }) => `${name} (${location})`))}.`,
        'The sites make these directories. Before CREATE TABLESPACE, tell Mainstay: a standby stops where the directory is missing.',
      ),
    );
  }
  return [...findings, ...(await checkCollations(look, client)), ...(await describeLimit(look, workload))];
}

async function checkCollations(look: ServerLook, client: PostgresClient): Promise<Finding[]> {
  if (look.majorVersion < 15) return [];
  const { rows } = await client.query<{ name: string; recorded: string; actual: string }>(
    `SELECT datname AS name, datcollversion AS recorded, pg_database_collation_actual_version(oid) AS actual
     FROM pg_database WHERE datcollversion <> pg_database_collation_actual_version(oid)`,
  );
  if (rows.length === 0) return [];
  return [
    warning(
      'data.collation-version',
      `The sorting rules of the operating system changed under these databases: ${listed(rows.map(({ name, recorded, actual }) => `${name} (${recorded} → ${actual})`))}. Indexes on text may already be wrong.`,
      'REINDEX DATABASE …; ALTER DATABASE … REFRESH COLLATION VERSION; in a window.',
    ),
  ];
}

async function describeLimit(look: ServerLook, workload: PostgresWorkload): Promise<Finding[]> {
  const own = Number(valueOf(look, 'max_slot_wal_keep_size') ?? -1);
  // As above: then there is no limit to tell of.
  const derived = await derivedSlotLimit(workload).catch(() => undefined);
  if (derived === undefined) return [];
  const limit = own >= 0 && own < derived ? own : derived;
  return [
    information(
      'slots.limit',
      `While a site cannot be reached, up to ${limit} MiB of log are kept for it on this disk (max_slot_wal_keep_size, for the whole server); after that the site is seeded anew.`,
      own >= 0 && own < derived
        ? 'The limit is yours and stays.'
        : 'Mainstay sets it from the free space, and takes it away with the protection.',
    ),
  ];
}

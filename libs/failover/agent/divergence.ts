import { spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { z } from 'zod';
import type { divergenceFound } from '#contracts/replication';
import {
  lsnDifference,
  maxLsn,
  runAs,
  toolEnvironment,
  walSegmentName,
  type PostgresServer,
} from '#libs/platform/postgres';

type Divergence = z.infer<typeof divergenceFound.payload>;

/** So many transactions are listed by name; the rest is what `truncated` says. */
export const LISTED_MAX = 1_000;

export interface DivergenceQuestion {
  readonly workloadId: string;
  readonly epoch: number;
  /** Where the promoted timeline left this server's. */
  readonly forkedAtLsn: string;
}

/** `rmgr: Transaction len … tx: 745, lsn: 0/01522F50, prev …, desc: COMMIT 2026-11-22 14:00:00.000000 UTC; …` */
const RECORD = /tx:\s+(\d+), lsn: ([0-9A-F]+\/[0-9A-F]+), .*desc: (\w+)(?: (\d+))?:? ?(\d{4}-\d\d-\d\d [^;]*?)?(?:;|$)/;
const LSN = /lsn: ([0-9A-F]+\/[0-9A-F]+)/;
/** How pg_waldump says that the log ends: with an error, always. */
const END = / at ([0-9A-F]+\/[0-9A-F]+)/g;

/**
 * The transactions that a stopped old primary committed after the fork, which no site has. Reads its log with
 * pg_waldump and changes nothing. `truncated` also says that part of the log was gone.
 *
 * @throws when pg_waldump cannot be started.
 */
export async function findDivergence(server: PostgresServer, question: DivergenceQuestion): Promise<Divergence> {
  const { forkedAtLsn, workloadId, epoch } = question;
  const { timeline, walSegmentBytes } = await server.controlData();
  const first = path.join(server.directory, 'pg_wal', walSegmentName(timeline, forkedAtLsn, walSegmentBytes));
  const transactions: Divergence['transactions'] = [];
  // Kept by the site's slot; without it the server may have thrown its beginning away.
  let truncated = await access(first).then(
    () => false,
    () => true,
  );
  let last = forkedAtLsn;
  const stderr = await dump(server, timeline, forkedAtLsn, (line) => {
    const at = LSN.exec(line)?.[1];
    if (at) last = plain(at);
    const record = RECORD.exec(line);
    // COMMIT_PREPARED names its own transaction: `COMMIT_PREPARED 745: 2026-…`.
    if (!record?.[3]?.startsWith('COMMIT')) return;
    if (transactions.length >= LISTED_MAX) truncated = true;
    else {
      transactions.push({
        xid: record[4] ?? record[1] ?? '',
        committedAt: record[5]?.trim() || null,
        lsn: plain(record[2] ?? forkedAtLsn),
      });
    }
  });
  const ends = [...stderr.matchAll(END)].map((match) => plain(match[1] ?? ''));
  const endLsn = maxLsn(last, ...ends.filter((end) => lsnDifference(end, forkedAtLsn) >= 0n)) ?? forkedAtLsn;
  return { workloadId, epoch, forkedAtLsn, endLsn, transactions, truncated };
}

/** pg_waldump pads with zeros (`0/01522F50`); PostgreSQL's own positions are not padded. */
function plain(position: string): string {
  const [high = '0', low = '0'] = position.split('/');
  return `${high.replace(/^0+(?=.)/, '')}/${low.replace(/^0+(?=.)/, '')}`;
}

function dump(server: PostgresServer, timeline: number, from: string, each: (line: string) => void): Promise<string> {
  const { installation, directory, identity } = server;
  const args = [
    `--path=${path.join(directory, 'pg_wal')}`,
    `--timeline=${timeline}`,
    `--start=${from}`,
    '--rmgr=Transaction',
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(path.join(installation.binDirectory, 'pg_waldump'), args, {
      cwd: '/',
      // Commit times are printed in local time otherwise.
      env: toolEnvironment(identity, { TZ: 'UTC' }),
      stdio: ['ignore', 'pipe', 'pipe'],
      ...runAs(identity),
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr = `${stderr}${chunk.toString('utf8')}`.slice(-4_000)));
    createInterface({ input: child.stdout }).on('line', each);
    child.once('error', reject);
    child.once('close', () => resolve(stderr));
  });
}

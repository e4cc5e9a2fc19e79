import { type BenchOptions, type BenchReport, type BenchResult, compare, machineName } from '../report.js';
import { BarePair } from './bare-pair.js';
import { Mainstay } from './ours.js';
import { patroniSides } from './patroni/sides.js';
import { type FailoverSide, SideMissingError } from './side.js';

interface Entrant {
  readonly side: FailoverSide;
  readonly rounds: number;
  readonly seconds: number[];
}

const CASE = 'declaration to first accepted write';

/**
 * How long a failover takes from its order to the first write that a client gets acknowledged, beside PostgreSQL alone
 * and beside Patroni. Every server is killed with -9 under the same two clients, which know both addresses.
 *
 * Needs PostgreSQL; Patroni and etcd from Debian's packages `patroni` and `etcd-server`, or their cases are left out.
 */
export async function run(options: BenchOptions): Promise<BenchReport> {
  const rounds = options.quick ? { all: 5, slow: 1 } : { all: 20, slow: 5 };
  const patroni = patroniSides();
  const ours = entrant(new Mainstay(), rounds.all);
  const references = [
    entrant(new BarePair(), rounds.all),
    entrant(patroni.command, rounds.all),
    entrant(patroni.planned, rounds.slow),
    entrant(patroni.automatic, rounds.slow),
  ];
  const notes: string[] = [];
  await closingAll([ours, ...references], async () => {
    await ours.side.prepare();
    const present = [ours, ...(await prepared(references, notes))];
    for (let round = 0; round < rounds.all; round++) await measureInTurn(present, round);
  });
  const measured = references.filter(({ seconds }) => seconds.length > 0);
  return {
    name: 'failover',
    machine: machineName(),
    when: new Date().toISOString(),
    how: describe(measured, notes),
    results: measured.map((reference) => result(ours, reference)),
  };
}

function entrant(side: FailoverSide, rounds: number): Entrant {
  return { side, rounds, seconds: [] };
}

/** Those that this machine can run; what the others lack goes into the notes. */
async function prepared(entrants: readonly Entrant[], notes: string[]): Promise<Entrant[]> {
  const present: Entrant[] = [];
  for (const each of entrants) {
    try {
      await each.side.prepare();
      present.push(each);
    } catch (error) {
      if (!(error instanceof SideMissingError)) throw error;
      notes.push(`Left out: ${each.side.name} (${error.message}).`);
    }
  }
  return present;
}

async function measureInTurn(entrants: readonly Entrant[], round: number): Promise<void> {
  for (const { side, rounds, seconds } of entrants) {
    if (round >= rounds) continue;
    const took = await side.round();
    seconds.push(took);
    console.error(`round ${round + 1} of ${rounds}: ${side.name}: ${took.toFixed(3)} s`);
  }
}

/** Servers outlive their parent: they are ended whatever happens, Ctrl-C included. */
async function closingAll(entrants: readonly Entrant[], work: () => Promise<void>): Promise<void> {
  const close = async (): Promise<void> => {
    for (const { side } of entrants) await side.close();
  };
  const interrupted = (): void => void close().finally(() => process.exit(130));
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    await work();
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await close();
  }
}

function result(ours: Entrant, reference: Entrant): BenchResult {
  const what = { case: CASE, unit: 's', better: 'lower', referenceName: reference.side.name } as const;
  return compare(what, ours.seconds, reference.seconds);
}

function describe(references: readonly Entrant[], notes: readonly string[]): string {
  const runs = references.map(({ side, seconds }) => `${side.name} ${seconds.length}`).join(', ');
  return [
    'Median seconds from the order (automatic: from the kill) to the first write acknowledged to one of two clients that try both addresses every 20 ms.',
    'Mainstay: server and agent killed with -9, declared by REST with an API key, written through the front door; strict mode, metro and regional site on this machine.',
    'Bare: primary killed with -9, SELECT pg_promote(false) on its synchronous standby.',
    'Patroni: two nodes and one etcd, its default settings and asynchronous replication; the command is POST /failover at the leader, whose PostgreSQL was killed with -9 while its Patroni lives (with the machine lost the command waits for the leader key to expire).',
    `Same server settings and data everywhere, sides in turn. Rounds of the references: ${runs}.`,
    ...notes,
  ].join(' ');
}

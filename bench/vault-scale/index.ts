import { chmod, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchResult, compare, machineName } from '../report.js';
import { percentile, runLoad } from '../vault/load/load.js';
import { type LoadFigures, type LoadRepository, loadRepository, type Visit } from '../vault/load/plan.js';
import { OurVault } from '../vault/ours.js';
import { peakMemory, processorSeconds, resetPeakMemory } from '../vault/process-figures.js';
import { programOnPath, versionOf } from '../vault/programs.js';
import { type ProgramSide, RestServer } from '../vault/sides.js';

const PACK_BYTES = 16 * 2 ** 20;
/** Folders of a repository: 256 for its packs, one for each type and for itself. */
const FOLDERS_OF_ONE = 262;
const FOLDER_BYTES = 4_096;

interface Size {
  readonly repositories: number;
  readonly clients: number;
  readonly rounds: number;
  /** Of all repositories together, in one round. */
  readonly packs: number;
}

interface Entrant {
  readonly side: ProgramSide;
  repositories: readonly LoadRepository[];
  opened: number;
  readonly rounds: (LoadFigures & { readonly memory: number; readonly processor: number })[];
}

/**
 * A thousand repositories and a hundred clients at once, beside restic's own server. The clients are ours and run in a
 * process apart: a hundred restics would measure restic. Each takes the next repository and does there what a small
 * backup asks of a server.
 *
 * Needs `rest-server` on the PATH.
 */
export async function run(options: BenchOptions): Promise<BenchReport> {
  const version = await versionOf(programOnPath('rest-server'));
  const size = sizeOf(options);
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-bench-vault-scale-'));
  // PostgreSQL's own user goes through it.
  await chmod(home, 0o755);
  const entrants = [new OurVault(), new RestServer()].map((side): Entrant => ({
    side,
    repositories: [],
    opened: 0,
    rounds: [],
  }));
  try {
    await requireRoom(home, size);
    for (const entrant of entrants) await open(entrant, home, size);
    for (let round = 0; round < size.rounds; round += 1) {
      // Who begins changes, so that neither always finds the disk as the other left it.
      const order = round % 2 === 0 ? entrants : [...entrants].reverse();
      for (const entrant of order) await measure(entrant, size);
    }
    const [ours, reference] = entrants as [Entrant, Entrant];
    return {
      name: 'vault-scale',
      machine: machineName(),
      when: new Date().toISOString(),
      how: describe(size, version, entrants),
      results: results(ours, reference),
    };
  } finally {
    for (const { side } of entrants) await side.stop();
    await rm(home, { recursive: true, force: true });
  }
}

function sizeOf({ quick, repositories, clients, rounds }: BenchOptions): Size {
  const size = quick
    ? { repositories: 100, clients: 20, rounds: 1, packs: 40 }
    : { repositories: 1_000, clients: 100, rounds: 3, packs: 200 };
  return {
    ...size,
    repositories: repositories ?? size.repositories,
    clients: clients ?? size.clients,
    rounds: rounds ?? size.rounds,
  };
}

async function requireRoom(home: string, { repositories, rounds, packs }: Size): Promise<void> {
  const needed = 2 * (rounds * packs * PACK_BYTES + repositories * FOLDERS_OF_ONE * FOLDER_BYTES);
  const { bavail, bsize } = await statfs(home);
  if (bavail * bsize < needed * 1.1) {
    throw new Error(`${tmpdir()} needs ${Math.ceil((needed * 1.1) / 1e9)} GB; set TMPDIR to where there is room`);
  }
}

async function open(entrant: Entrant, home: string, { repositories, clients }: Size): Promise<void> {
  await entrant.side.start(home);
  const places: LoadRepository[] = [];
  for (let number = 0; number < repositories; number += 1) {
    places.push(loadRepository(await entrant.side.repository()));
  }
  entrant.repositories = places;
  const visits = places.map((_, repository): Visit => ({ repository, act: { kind: 'open' } }));
  const figures = await runLoad({ repositories: places, clients, visits, packBytes: PACK_BYTES });
  faultless(entrant.side, figures);
  entrant.opened = figures.seconds;
}

async function measure(entrant: Entrant, { clients, packs }: Size): Promise<void> {
  const { side, repositories } = entrant;
  const pid = side.pid as number;
  const visits = repositories.map((_, repository): Visit => {
    // Spread evenly, so that clients that send packs are at work beside others that do not.
    const before = Math.floor((repository * packs) / repositories.length);
    const after = Math.floor(((repository + 1) * packs) / repositories.length);
    return { repository, act: { kind: 'backup', packs: after - before } };
  });
  await resetPeakMemory(pid);
  const began = await processorSeconds(pid);
  const figures = await runLoad({ repositories, clients, visits, packBytes: PACK_BYTES });
  faultless(side, figures);
  const processor = (await processorSeconds(pid)) - began;
  entrant.rounds.push({ ...figures, memory: await peakMemory(pid), processor });
  const p99 = percentile(figures.uploads, 99);
  console.error(
    `${side.name}: ${figures.requests} requests in ${figures.seconds.toFixed(1)} s, p99 ${p99.toFixed(0)} ms`,
  );
}

/** That nobody is refused is what is asked first; a server that fails some is quick with the others. */
function faultless({ name }: ProgramSide, { errorCount, errors }: LoadFigures): void {
  if (errorCount > 0) throw new Error(`${name}: ${errorCount} errors; ${errors.join('; ')}`);
}

function results(ours: Entrant, reference: Entrant): BenchResult[] {
  const line = (what: string, unit: string, of: (round: Entrant['rounds'][number]) => number): BenchResult =>
    compare(
      { case: what, unit, better: 'lower', referenceName: reference.side.name },
      ours.rounds.map(of),
      reference.rounds.map(of),
    );
  return [
    line('upload of 16 MiB, p99', 'ms', ({ uploads }) => percentile(uploads, 99)),
    line('upload of 16 MiB, median', 'ms', ({ uploads }) => percentile(uploads, 50)),
    line('all backups', 's', ({ seconds }) => seconds),
    line("the server's memory, peak", 'MiB', ({ memory }) => memory),
    line("the server's processor time", 's', ({ processor }) => processor),
    compare(
      { case: 'all repositories made', unit: 's', better: 'lower', referenceName: reference.side.name },
      [ours.opened],
      [reference.opened],
    ),
  ];
}

function describe(
  { repositories, clients, rounds, packs }: Size,
  version: string,
  entrants: readonly Entrant[],
): string {
  const requests = entrants.map(({ rounds: all }) => all.reduce((sum, each) => sum + each.requests, 0));
  return [
    `${repositories} repositories and ${clients} HTTP clients of our own at once, each with one connection, in a process apart from the servers.`,
    `A round is one small backup in each repository: config, three lists, a lock, an index, a snapshot, and in all ${packs} packs of 16 MiB; a pack's time is from its first byte to the answer.`,
    `${rounds} rounds, the sides in turn, medians of the rounds. ${requests.join(' and ')} requests, no error (one ends the benchmark).`,
    `Both hash what they take and sync file and folder before they answer; plain HTTP. Mainstay checks a credential of each repository and asks its database at each upload; ${version} runs with --no-auth.`,
  ].join(' ');
}

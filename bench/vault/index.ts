import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchResult, compare, machineName } from '../report.js';
import { CROWD, crowdMemory } from './crowd.js';
import { changeSome, largeFiles, smallFiles } from './data.js';
import { OurVault } from './ours.js';
import { processorSeconds } from './process-figures.js';
import { Restic, SideMissingError } from './programs.js';
import { LocalFolder, Rclone, RestServer, type VaultSide } from './sides.js';

/** Ours then reads and hashes each object before it serves it: what it took itself, it knows. */
const AGAIN = 'restore of large files, server just started';
const CASES = [
  'backup of large files',
  'restore of large files',
  AGAIN,
  'backup of small files',
  'a day later',
  'restore of small files',
];

interface Measured {
  readonly side: VaultSide;
  readonly seconds: Map<string, number[]>;
  readonly processorPerGigabyte: number[];
  readonly memory: number[];
}

/**
 * Backup and restore by one restic, against our vault, restic's own server, rclone's, and a local folder as the limit.
 * Ours, rest-server and the local folder sync file and folder before an object counts; rclone syncs neither.
 *
 * Needs restic; `rest-server` and `rclone` on PATH, or their cases are left out.
 */
export async function run(options: BenchOptions): Promise<BenchReport> {
  const size = options.quick
    ? { mebibytes: 256, files: 4_000, rounds: options.rounds ?? 1, crowdPacks: 1 }
    : { mebibytes: 2_048, files: 100_000, rounds: options.rounds ?? 2, crowdPacks: 2 };
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-bench-vault-'));
  // PostgreSQL's own user goes through it.
  await chmod(home, 0o755);
  const notes: string[] = [];
  const entrants: Measured[] = [];
  try {
    const restic = new Restic(home);
    const large = path.join(home, 'large');
    const small = path.join(home, 'small');
    await largeFiles(large, size.mebibytes);
    await smallFiles(small, size.files);
    for (const side of [new OurVault(), new RestServer(), new Rclone(), new LocalFolder()]) {
      const measured = await started(side, home, notes);
      if (measured) entrants.push(measured);
    }
    for (let round = 0; round < size.rounds; round += 1) {
      // Who begins changes, so that no side always finds the disk as the same other left it.
      const order = entrants.map((_, index) => entrants[(index + round) % entrants.length] as Measured);
      for (const entrant of order) {
        const bench = { restic, home, large, small, files: size.files, mebibytes: size.mebibytes };
        await measure(entrant, bench).catch((cause: unknown) => {
          throw new Error(`${entrant.side.name} failed in round ${round + 1}`, { cause });
        });
      }
      if (round + 1 < size.rounds) await changeSome(small, size.files);
    }
    for (const { side, memory } of entrants) {
      if (side.pid !== null) memory.push(await crowdMemory(side, size.crowdPacks));
    }
    const [ours, ...references] = entrants as [Measured, ...Measured[]];
    return {
      name: 'vault',
      machine: machineName(),
      when: new Date().toISOString(),
      how: `${await restic.version()}; ${size.mebibytes} MiB in files of 64 MiB that do not compress, ${size.files} files of 1 to 8 kB; ${size.rounds} rounds, all sides in turn. restic and the servers share this machine's processors. Durability: Mainstay, rest-server and the local folder sync file and folder before an object counts, and the two hash what they take; rclone does neither. ${notes.join(' ')}`.trim(),
      results: results(ours, references),
    };
  } finally {
    for (const { side } of entrants) await side.stop();
    await rm(home, { recursive: true, force: true });
  }
}

async function started(side: VaultSide, home: string, notes: string[]): Promise<Measured | undefined> {
  try {
    await side.start(home);
    return { side, seconds: new Map(CASES.map((name) => [name, []])), processorPerGigabyte: [], memory: [] };
  } catch (error) {
    if (!(error instanceof SideMissingError)) throw error;
    notes.push(`Left out: ${side.name} (${error.message}).`);
    return undefined;
  }
}

interface Bench {
  readonly restic: Restic;
  readonly home: string;
  readonly large: string;
  readonly small: string;
  readonly files: number;
  readonly mebibytes: number;
}

async function measure({ side, seconds, ...entrant }: Measured, bench: Bench): Promise<void> {
  const { restic, large, small } = bench;
  const note = (name: string, value: number): void => void seconds.get(name)?.push(value);
  const target = path.join(bench.home, 'restored');
  const repository = await side.repository();
  await restic.run(repository, 'init');
  const before = side.pid === null ? 0 : await processorSeconds(side.pid);
  note('backup of large files', await restic.run(repository, 'backup', large));
  await mkdir(target, { recursive: true });
  note('restore of large files', await restic.run(repository, 'restore', 'latest', '--target', target));
  if (side.pid !== null) {
    const used = (await processorSeconds(side.pid)) - before;
    entrant.processorPerGigabyte.push(used / ((2 * bench.mebibytes * 2 ** 20) / 1e9));
  }
  await rm(target, { recursive: true });
  await side.restart();
  note(AGAIN, await restic.run(repository, 'restore', 'latest', '--target', target));
  await rm(target, { recursive: true });
  const other = await side.repository();
  await restic.run(other, 'init');
  note('backup of small files', await restic.run(other, 'backup', small));
  await changeSome(small, bench.files);
  note('a day later', await restic.run(other, 'backup', small));
  note('restore of small files', await restic.run(other, 'restore', 'latest', '--target', target));
  await rm(target, { recursive: true });
}

function results(ours: Measured, references: readonly Measured[]): BenchResult[] {
  const lines: BenchResult[] = [];
  for (const name of CASES) {
    for (const { side, seconds } of references) {
      const what = { case: name, unit: 's', better: 'lower', referenceName: side.name } as const;
      lines.push(compare(what, ours.seconds.get(name) ?? [], seconds.get(name) ?? []));
    }
  }
  for (const { side, processorPerGigabyte, memory } of references) {
    if (side.pid === null) continue;
    const line = (what: string, unit: string, mine: readonly number[], theirs: readonly number[]): BenchResult =>
      compare({ case: what, unit, better: 'lower', referenceName: side.name }, mine, theirs);
    lines.push(line('processor time of the server', 's/GB', ours.processorPerGigabyte, processorPerGigabyte));
    lines.push(line(CROWD, 'MiB', ours.memory, memory));
  }
  return lines;
}

import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { createAuthority, issueCertificate } from '#libs/link';
import { type BenchOptions, type BenchReport, type BenchResult, compare, machineName, median } from '../report.js';
import { OurVault } from '../vault/ours.js';
import { programOnPath, Restic } from '../vault/programs.js';
import { BenchAgent } from './agent.js';
import { CountingLine, type LineBytes } from './line.js';
import { type Day, Tree } from './tree.js';

const run_ = promisify(execFile);
const MEGABYTE = 1e6;

interface Backup extends LineBytes {
  readonly seconds: number;
}

interface Measured {
  readonly first: Backup;
  readonly days: readonly (Backup & Day & { readonly copySeconds: number })[];
  readonly treeBytes: number;
  readonly treeCopySeconds: number;
}

/**
 * What a day's change of a tree costs: bytes over the line and seconds, by the agent's own archive code and restic against
 * our vault with TLS. Beside it stand limits, not rivals: the changed bytes themselves, the changed files whole, and the
 * whole tree; for the time, copies of these on this machine.
 *
 * Needs restic.
 */
export async function run(options: BenchOptions): Promise<BenchReport> {
  programOnPath('restic');
  const gigabytes = options.gigabytes ?? (options.quick ? 0.3 : 10);
  const percent = options.percent ?? 2;
  const rounds = options.rounds ?? (options.quick ? 1 : 3);
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-bench-archive-'));
  // PostgreSQL's own user goes through it.
  await chmod(home, 0o755);
  try {
    const tree = new Tree(path.join(home, 'tree'));
    await tree.create(gigabytes * 1e9);
    const files = tree.files;
    const measured = await measure(home, tree, rounds, (gigabytes * 1e9 * percent) / 100);
    const { received } = measured.days.reduce((all, day) => ({ received: all.received + day.received }), {
      received: 0,
    });
    return {
      name: 'archive',
      machine: machineName(),
      when: new Date().toISOString(),
      how: [
        `${await new Restic(home).version()}, called by the agent's archive code with a site's commands, against our vault with TLS; agent, restic and vault share this machine's processors.`,
        `A tree of ${gigabytes} GB in ${files} files: 70 % in files of 32 MiB that do not compress, the rest in documents of 256 KiB that compress to half.`,
        `A day changes ${percent} %: half of that in new documents, a quarter in documents written anew, a quarter as 1 MiB in the middle of a large file each. ${rounds} days, medians.`,
        `Bytes are those of TCP's payload from the agent to the vault, TLS counted; ${(received / rounds / 1e3).toFixed(0)} kB a day came back. Time is from the command to its result, with the comparison with the day before; the line is the loopback, so it says what machine and protocol cost, not the line.`,
        'The limits are no rivals: sizes of what changed, and cp with sync on this machine.',
      ].join(' '),
      results: results(measured),
    };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function measure(home: string, tree: Tree, rounds: number, dayBytes: number): Promise<Measured> {
  const authority = await createAuthority('bench');
  const wish = { commonName: 'vault', ipAddresses: ['127.0.0.1'], usages: ['server' as const] };
  const { certificate, privateKey } = await issueCertificate(authority, wish);
  const vault = new OurVault({ certificate, key: privateKey });
  const ending: (() => unknown)[] = [() => vault.stop()];
  try {
    await vault.start(home);
    const { id, port, user, secret } = await vault.openRepository();
    const line = await CountingLine.to(port);
    ending.push(() => line.close());
    const url = `https://127.0.0.1:${line.port}/${id}/`;
    const access = { repositoryId: id, url, user, secret, authority: authority.certificate, password: null };
    const agent = await BenchAgent.start(home, tree.folder, access);
    ending.push(() => agent.close());
    const backup = async (): Promise<Backup> => {
      line.take();
      const seconds = await agent.backup();
      return { seconds, ...line.take() };
    };
    const first = await backup();
    console.error(`the first backup: ${told(first)}`);
    const days: Measured['days'][number][] = [];
    for (let round = 0; round < rounds; round += 1) {
      const day = await tree.change(dayBytes);
      const done = await backup();
      console.error(`day ${round + 1} of ${rounds}: ${told(done)}`);
      days.push({
        ...day,
        ...done,
        copySeconds: await copyOf(home, () => copyFiles(day.files, path.join(home, 'copy'))),
      });
    }
    const treeCopySeconds = await copyOf(home, () => run_('cp', ['-r', tree.folder, path.join(home, 'copy')]));
    return { first, days, treeBytes: tree.bytes, treeCopySeconds };
  } finally {
    for (const end of ending.reverse()) await end();
  }
}

function told({ seconds, sent, received }: Backup): string {
  return `${seconds.toFixed(1)} s, ${(sent / MEGABYTE).toFixed(1)} MB sent, ${(received / MEGABYTE).toFixed(1)} MB received`;
}

/** Seconds until the copy is on the disk. It is removed again. */
async function copyOf(home: string, copy: () => Promise<unknown>): Promise<number> {
  const folder = path.join(home, 'copy');
  await mkdir(folder);
  const began = performance.now();
  await copy();
  await run_('sync', ['-f', folder]);
  const seconds = (performance.now() - began) / 1_000;
  await rm(folder, { recursive: true });
  return seconds;
}

async function copyFiles(files: readonly string[], folder: string): Promise<void> {
  for (const [number, file] of files.entries()) await copyFile(file, path.join(folder, String(number)));
}

function results({ first, days, treeBytes, treeCopySeconds }: Measured): BenchResult[] {
  const bytes = (what: string, ours: readonly number[], limits: Readonly<Record<string, readonly number[]>>) =>
    lines(
      what,
      'MB',
      megabytes(ours),
      Object.fromEntries(Object.entries(limits).map(([name, all]) => [name, megabytes(all)])),
    );
  const changed = days.map(({ changedBytes }) => changedBytes);
  const whole = days.map(({ fileBytes }) => fileBytes);
  return [
    ...bytes(
      'bytes over the line, a day',
      days.map(({ sent }) => sent),
      {
        'limit: the bytes that changed': changed,
        'limit: the files that changed, whole': whole,
        'limit: the whole tree': [treeBytes],
      },
    ),
    ...bytes('bytes over the line, the first backup', [first.sent], { 'limit: the whole tree': [treeBytes] }),
    ...lines(
      'time, a day',
      's',
      days.map(({ seconds }) => seconds),
      {
        'limit: cp of the files that changed': days.map(({ copySeconds }) => copySeconds),
        'limit: cp of the whole tree': [treeCopySeconds],
      },
    ),
    ...lines('time, the first backup', 's', [first.seconds], { 'limit: cp of the whole tree': [treeCopySeconds] }),
  ];
}

function lines(
  what: string,
  unit: string,
  ours: readonly number[],
  limits: Readonly<Record<string, readonly number[]>>,
): BenchResult[] {
  return Object.entries(limits).map(([referenceName, values]) =>
    compare({ case: what, unit, better: 'lower', referenceName }, ours, [median(values)]),
  );
}

const megabytes = (values: readonly number[]): number[] => values.map((value) => value / MEGABYTE);

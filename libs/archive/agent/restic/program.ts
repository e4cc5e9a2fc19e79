import { execFile } from 'node:child_process';
import { access, constants, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment, searchPath } from '#libs/platform/config';
import { ArchiveWorkError } from '../errors.js';

/** The restic of this machine. */
export interface ResticProgram {
  readonly file: string;
  /** As it says it: `0.19.1`. */
  readonly version: string;
  readonly minor: number;
}

const USUAL_PLACES = [
  '/usr/local/bin',
  '/usr/bin',
  '/bin',
  '/opt/homebrew/bin',
  '/home/linuxbrew/.linuxbrew/bin',
  '/snap/bin',
];

/** Since which version (0.x) restic can do what the agent makes use of (its CHANGELOG). */
const SINCE = {
  /** `--retry-lock` */
  'retry-lock': 16,
  /** `--stdin-from-command`: a dump that fails leaves no snapshot. */
  'stdin-from-command': 17,
  /** `restore --overwrite`, with its progress as JSON, and `snapshot:subfolder`. */
  'restore-in-place': 17,
} as const;
export type ResticFeature = keyof typeof SINCE;

/** The oldest that is supported at all: Debian 12 has it. */
export const OLDEST_MINOR = 14;
/** From this one on everything works. */
export const WHOLE_MINOR = Math.max(...Object.values(SINCE));

export const INSTALL_RESTIC =
  'Install restic 0.17 or newer: apt-get install -y restic (Debian 13, Ubuntu 25.04 and later); elsewhere put the ' +
  'program of restic.net into /usr/local/bin. Another place is named by "restic" in agent.json.';

export function can({ minor }: ResticProgram, feature: ResticFeature): boolean {
  return minor >= SINCE[feature];
}

/** @throws ArchiveWorkError when this restic is too old for it */
export function requireFeature(restic: ResticProgram, feature: ResticFeature, what: string): void {
  if (can(restic, feature)) return;
  throw new ArchiveWorkError('restic-too-old', `restic ${restic.version} is too old for ${what}. ${INSTALL_RESTIC}`);
}

/**
 * The program that agent.json names, or the first on PATH and in the usual places that can do everything; else the first.
 *
 * @throws ArchiveWorkError saying what to install
 */
export async function findRestic(setting: string | undefined): Promise<ResticProgram> {
  const candidates = setting === undefined ? places() : [setting];
  let first: ResticProgram | undefined;
  for (const candidate of candidates) {
    const found = await probe(candidate);
    if (!found || found.minor < OLDEST_MINOR) continue;
    if (found.minor >= WHOLE_MINOR) return found;
    first ??= found;
  }
  if (first) return first;
  const where = setting === undefined ? 'on this machine' : `at ${setting}, which agent.json names`;
  throw new ArchiveWorkError('no-restic', `There is no usable restic ${where}. ${INSTALL_RESTIC}`);
}

function places(): string[] {
  const directories = [...searchPath().filter((each) => path.isAbsolute(each)), ...USUAL_PLACES];
  return [...new Set(directories)].map((directory) => path.join(directory, 'restic'));
}

const run = promisify(execFile);
const known = new Map<string, ResticProgram>();

async function probe(candidate: string): Promise<ResticProgram | undefined> {
  try {
    await access(candidate, constants.X_OK);
    const file = await realpath(candidate);
    const { mtimeMs, size } = await stat(file);
    const key = `${file} ${mtimeMs} ${size}`;
    const before = known.get(key);
    if (before) return before;
    const { stdout } = await run(file, ['version'], { timeout: 30_000, env: childEnvironment({}) });
    const version = /^restic (\d+\.\d+\S*)/.exec(stdout)?.[1];
    if (version === undefined) return undefined;
    const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
    // A restic 1.x comes after all that has a 0.
    const found = { file, version, minor: major > 0 ? Number.POSITIVE_INFINITY : minor };
    known.set(key, found);
    return found;
  } catch {
    // Not there, not a program, or not restic: the next place may have it.
    return undefined;
  }
}

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { createConnection } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment, searchPath } from '#libs/platform/config';

/** What each program is in, for who lacks it. */
const WHENCE: Readonly<Record<string, string>> = {
  restic: 'https://restic.readthedocs.io/en/stable/020_installation.html',
  'rest-server': "Debian's package restic-rest-server, or restic's own release of it (0.14 is measured)",
  rclone: "Debian's package rclone",
};

/** This machine does not have the program; its cases are left out and named, or the benchmark cannot be. */
export class SideMissingError extends Error {}

/** @throws SideMissingError */
export function programOnPath(name: string): string {
  for (const folder of searchPath()) {
    const file = path.join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      continue;
    }
  }
  const whence = WHENCE[name];
  throw new SideMissingError(`${name} is not on the PATH${whence === undefined ? '' : `: ${whence}`}`);
}

/** Name and number, from the first line that it says of itself. */
export async function versionOf(file: string): Promise<string> {
  const { stdout } = await promisify(execFile)(file, ['--version']);
  return stdout
    .replaceAll(/ version\b/g, '')
    .replace(/^(\S+) \1\b/, '$1')
    .split(' ')
    .slice(0, 2)
    .join(' ')
    .trim();
}

export function answersHttp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}

/** Stock restic, with a cache of its own for each repository. */
export class Restic {
  private readonly file = programOnPath('restic');

  constructor(private readonly home: string) {}

  async version(): Promise<string> {
    const child = spawn(this.file, ['version'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    return line.toString().split(' ').slice(0, 2).join(' ');
  }

  /** @returns the seconds that it took. */
  async run(repository: string, ...words: string[]): Promise<number> {
    const began = process.hrtime.bigint();
    const environment = {
      RESTIC_REPOSITORY: repository,
      RESTIC_PASSWORD: 'bench',
      RESTIC_CACHE_DIR: this.cache(repository),
    };
    const child = spawn(this.file, ['--quiet', ...words], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: childEnvironment(environment),
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2_000)));
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`restic ${words.join(' ')} ended with ${code}: ${said}`);
    return Number(process.hrtime.bigint() - began) / 1e9;
  }

  private cache(repository: string): string {
    return path.join(this.home, 'cache', repository.replaceAll(/\W/g, '_').slice(-80));
  }
}

import { access, constants } from 'node:fs/promises';
import { type ChildProcess, spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { searchPath } from '#libs/platform/config';
import { chownTo, runAs, type ServerIdentity, toolEnvironment } from '#libs/platform/postgres';

/** Debian keeps daemons out of a plain user's PATH. */
const ALSO = ['/usr/bin', '/usr/sbin', '/usr/local/bin'];

/** The full path of an installed program; undefined when there is none. */
export async function findProgram(name: string): Promise<string | undefined> {
  for (const directory of [...searchPath(), ...ALSO]) {
    const file = path.join(directory, name);
    const found = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  return undefined;
}

/** A program that runs until it is killed, as PostgreSQL's user, its output in a file. */
export class Daemon {
  private child: ChildProcess | undefined;

  constructor(
    private readonly file: string,
    private readonly args: readonly string[],
    private readonly logFile: string,
    private readonly identity: ServerIdentity,
  ) {}

  async start(): Promise<void> {
    if (this.isRunning) return;
    const log = await open(this.logFile, 'a', 0o600);
    try {
      await chownTo(this.logFile, this.identity);
      const child = spawn(this.file, this.args, {
        cwd: path.dirname(this.logFile),
        env: toolEnvironment(this.identity),
        stdio: ['ignore', log.fd, log.fd],
        ...runAs(this.identity),
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      });
      this.child = child;
    } finally {
      await log.close();
    }
  }

  get isRunning(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** SIGKILL; returns once it is gone. */
  async kill9(): Promise<void> {
    const { child } = this;
    if (!child || !this.isRunning) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }
}

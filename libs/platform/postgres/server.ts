import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import path from 'node:path';
import { waitFor } from '../clock/wait.js';
import { errorText } from '../errors/index.js';
import type { PostgresInstallation } from './binaries.js';
import { settingText, type ConfigurationValue } from './configuration.js';
import { readControlData, type ControlData } from './control-data.js';
import { PostgresServerError } from './errors.js';
import { ownedDirectory, serverIdentity, type ServerIdentity } from './identity.js';
import { initialiseCluster, type InitialiseOptions } from './initialise.js';
import { OpenDirectory } from './open-directory.js';
import { clearForeignLocks, runningPostmaster, type PostmasterFile } from './postmaster-pid.js';
import { childProcesses, isAlive, postgresProcessesIn, signalProcess } from './processes.js';
import { redact, runAs, toolEnvironment } from './tool.js';

export interface StartOptions {
  /** TCP port; the listen address comes from `options` or postgresql.conf. */
  readonly port: number;
  /** Made with mode 0700 when missing. Keep it short: a Unix socket's path has some 100 characters at most. */
  readonly socketDirectory: string;
  /** Appended to; gets what the server says before its own logging begins, and all of it without a collector. */
  readonly logFile: string;
  /** Given as `-c name=value`: these win over postgresql.conf and ALTER SYSTEM. */
  readonly options?: Readonly<Record<string, ConfigurationValue>>;
  /** Words before the server's own, which end in becoming it; they switch the user themselves. None when left out. */
  readonly launcher?: readonly string[];
  /** Until connections are accepted; 60 s when left out. Recovery after a crash counts. */
  readonly timeoutMs?: number;
}

export type StopMode = 'smart' | 'fast' | 'immediate';

export interface RunningServer {
  readonly pid: number;
  readonly port: number;
  readonly socketDirectory: string;
  /** `standby`: in recovery, accepts readers. */
  readonly status: string;
}

const STOP_SIGNAL = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const;
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
const READY = new Set(['ready', 'standby']);

/**
 * One PostgreSQL server of this machine and its data directory. The server runs in a session of its own and outlives
 * this process, kill -9 included; the next process takes it over by {@link running}. Every method may be repeated after a
 * crash at any point. Not for two callers at once on one directory.
 */
export class PostgresServer {
  /** Only until it is ready: from then on postmaster.pid is the truth. */
  private launched: number | undefined;

  private constructor(
    readonly installation: PostgresInstallation,
    readonly directory: string,
    readonly identity: ServerIdentity,
  ) {}

  /** Binds to a data directory, which need not exist yet. Run as `identity`, {@link serverIdentity} when left out. */
  static async at(
    installation: PostgresInstallation,
    directory: string,
    identity?: ServerIdentity,
  ): Promise<PostgresServer> {
    return new PostgresServer(installation, path.resolve(directory), identity ?? (await serverIdentity()));
  }

  /** Runs initdb unless the directory holds a cluster already. @throws PostgresToolError, PostgresServerError */
  initialise(options: InitialiseOptions): Promise<void> {
    return initialiseCluster(this.installation, this.directory, this.identity, options);
  }

  /**
   * Starts the server and waits until it accepts connections; takes over one that already runs, whatever its options.
   *
   * @throws PostgresServerError with the end of the log in its detail when it does not come up. One that is still
   * recovering when the time is up goes on with it: call again.
   */
  async start(options: StartOptions): Promise<RunningServer> {
    const timeoutMs = options.timeoutMs ?? 60_000;
    const present = await this.postmaster();
    if (present?.status === 'stopping') await this.waitUntilGone([present.pid], timeoutMs, 'see it stop');
    if (!present || present.status === 'stopping') {
      await this.prepareStart(options);
      await this.launch(options);
    }
    return this.waitUntilReady(timeoutMs, options.logFile);
  }

  /** The server that runs on this directory, also one that another process of ours started; undefined when none does. */
  async running(): Promise<RunningServer | undefined> {
    const file = await this.postmaster();
    return file && { pid: file.pid, port: file.port, socketDirectory: file.socketDirectory, status: file.status };
  }

  async isRunning(): Promise<boolean> {
    return (await this.postmaster()) !== undefined;
  }

  /** Makes the server read postgresql.conf and pg_hba.conf again; false when it does not run. */
  async reload(): Promise<boolean> {
    const file = await this.postmaster();
    return file !== undefined && signalProcess(file.pid, 'SIGHUP');
  }

  /**
   * Stops the server: `smart` waits for clients to leave, `fast` disconnects them, `immediate` leaves recovery to the
   * next start. Nothing to do when it does not run.
   *
   * @throws PostgresServerError when it still runs after `timeoutMs` (60 s when left out).
   */
  async stop(mode: StopMode = 'fast', timeoutMs = 60_000): Promise<void> {
    const file = await this.postmaster();
    if (!file) return;
    signalProcess(file.pid, STOP_SIGNAL[mode]);
    await this.waitUntilGone([file.pid], timeoutMs, `stop it (${mode})`);
  }

  /** What a power cut does: SIGKILL to the postmaster and all its processes. Nothing to do when it does not run. */
  async kill9(): Promise<void> {
    const file = await this.postmaster();
    if (!file) return;
    const children = (await childProcesses(file.pid)).map((child) => child.pid);
    // The postmaster first: it would otherwise restart what dies.
    signalProcess(file.pid, 'SIGKILL');
    for (const pid of children) signalProcess(pid, 'SIGKILL');
    await this.waitUntilGone([file.pid, ...children], 10_000, 'kill it');
  }

  /** pg_control's fields, whether the server runs or not. @throws PostgresToolError */
  controlData(): Promise<ControlData> {
    return readControlData(this.installation, this.directory, this.identity);
  }

  private postmaster(): Promise<PostmasterFile | undefined> {
    return runningPostmaster(this.directory);
  }

  private async prepareStart(options: StartOptions): Promise<void> {
    await ownedDirectory(options.socketDirectory, this.identity);
    // PostgreSQL refuses a directory that others may read; a copy may have come with any mode.
    const directory = await OpenDirectory.at(await realpath(this.directory));
    await directory.own({ ...this.identity, switched: false }, 0o700).finally(() => directory.close());
    await clearForeignLocks(this.directory, options.socketDirectory, options.port);
    await this.endOrphans();
  }

  /** Backends of a killed postmaster hold its shared memory, and no new one starts until they are gone. */
  private async endOrphans(): Promise<void> {
    const orphans = await postgresProcessesIn(this.directory);
    for (const pid of orphans) signalProcess(pid, 'SIGKILL');
    await this.waitUntilGone(orphans, 10_000, 'end what a killed server left behind');
  }

  private async launch(options: StartOptions): Promise<void> {
    const settings: Record<string, ConfigurationValue> = {
      port: options.port,
      unix_socket_directories: options.socketDirectory,
      ...options.options,
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${settingText(value)}`]);
    const log = await open(options.logFile, APPEND, 0o600);
    try {
      if (this.identity.switched) await log.chown(this.identity.uid, this.identity.gid);
      const server = path.join(this.installation.binDirectory, 'postgres');
      const [program = server, ...words] = [...(options.launcher ?? []), server, '-D', this.directory, ...args];
      const child = spawn(program, words, {
        cwd: this.directory,
        env: toolEnvironment(this.identity),
        stdio: ['ignore', log.fd, log.fd],
        detached: true,
        ...(options.launcher ? {} : runAs(this.identity)),
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      });
      child.unref();
      this.launched = child.pid;
    } finally {
      await log.close();
    }
  }

  private async waitUntilReady(timeoutMs: number, logFile: string): Promise<RunningServer> {
    const { launched } = this;
    this.launched = undefined;
    const ready = async () => {
      const server = await this.running();
      if (server && READY.has(server.status)) return server;
      return launched !== undefined && !(await isAlive(launched)) ? 'ended' : undefined;
    };
    const outcome = await waitFor('PostgreSQL to accept connections', ready, { timeoutMs, everyMs: 20 }).catch(
      (error: unknown) => errorText(error),
    );
    if (typeof outcome !== 'string') return outcome;
    const detail = `${this.directory}: ${outcome}; ${await logTail(logFile)}`;
    const text =
      outcome === 'ended'
        ? 'PostgreSQL did not start. Its log says why.'
        : 'PostgreSQL does not accept connections yet: it is still recovering, or waits for its source. Try again.';
    throw new PostgresServerError(text, { detail, cause: new Error(detail) });
  }

  private async waitUntilGone(pids: readonly number[], timeoutMs: number, what: string): Promise<void> {
    const gone = async () => (await Promise.all(pids.map(isAlive))).every((alive) => !alive);
    await waitFor('PostgreSQL to end', gone, { timeoutMs, everyMs: 10 }).catch((cause: unknown) => {
      throw new PostgresServerError('PostgreSQL did not end in time.', {
        detail: `${this.directory}: could not ${what} within ${timeoutMs} ms`,
        cause,
      });
    });
  }
}

async function logTail(logFile: string): Promise<string> {
  try {
    const file = await open(logFile, 'r');
    try {
      const { size } = await file.stat();
      const length = Math.min(size, 2_000);
      const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return redact(buffer.toString('utf8').trim());
    } finally {
      await file.close();
    }
  } catch (error) {
    // It is part of another failure's text, in whose place this one must not come.
    return `its log cannot be read: ${errorText(error)}`;
  }
}

import { spawn, type ChildProcess } from 'node:child_process';
import { access, constants, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  connectionString,
  ownedDirectory,
  renderPgpass,
  runAs,
  serverIdentity,
  signalProcess,
  toolEnvironment,
  withDirectory,
  isAlive,
  processTitle,
} from '#libs/platform/postgres';
import type { Clock } from '#libs/platform/clock';
import { errorText, ifPresent } from '#libs/platform/errors';
import type { PostgresWorkload } from '#libs/sites/agent';
import { signIn } from './connection.js';
import { localServer } from './server.js';

export interface ReceiverOptions {
  readonly workload: PostgresWorkload;
  /** application_name: the second of synchronous_standby_names. */
  readonly lease: string;
  /** Emptied at each start. */
  readonly scratch: string;
}

/** How long a killed receiver may take to be gone. */
const GONE_MS = 2_000;
const SETPRIV = '/usr/bin/setpriv';

/**
 * The degrade lease as a process: a local synchronous walreceiver whose acknowledgements let COMMIT return while the
 * metro is away (facts/postgres.md). Nothing of it stays in the server's configuration: once it is dead, commits wait
 * again. It dies with its lease, with its watcher, and with the process that made this object.
 */
export class DegradeReceiver {
  private watcher: ChildProcess | undefined;
  private starting: Promise<void> | undefined;
  private fault: string | null = null;
  private endedAt = 0;

  constructor(
    private readonly options: ReceiverOptions,
    private readonly clock: Clock,
  ) {}

  /** Monotonic milliseconds since when none runs; 0 when none ever did. */
  get quietSince(): number {
    return this.endedAt;
  }

  /** True from before the start until after the end: nobody may answer "armed" meanwhile. */
  get running(): boolean {
    return this.watcher !== undefined || this.starting !== undefined;
  }

  /** Why the last one ended before its time; null when it did not. */
  get lastFault(): string | null {
    return this.fault;
  }

  /** Starts it, or lengthens its lease: it dies `leaseMs` from now unless this is called again. Never rejects. */
  async hold(leaseMs: number): Promise<void> {
    // Of the system's clock, which the watcher reads too. A start takes its time, and must not lengthen the lease.
    const until = Math.floor(Number(process.hrtime.bigint() / 1_000_000n) + leaseMs);
    if (this.watcher) {
      this.watcher.stdin?.write(`until ${until}\n`);
      return;
    }
    this.starting ??= this.start(until)
      .catch((error: unknown) => {
        this.fault = errorText(error);
      })
      .finally(() => (this.starting = undefined));
    await this.starting;
  }

  /** Kills it and waits until it is gone. Nothing to do when it does not run. */
  async stop(): Promise<void> {
    await this.starting;
    const { watcher } = this;
    if (!watcher) return;
    const gone = new Promise<void>((resolve) => watcher.once('exit', () => resolve()));
    watcher.stdin?.end('stop\n');
    const timer = setTimeout(() => watcher.kill('SIGKILL'), GONE_MS);
    await gone;
    clearTimeout(timer);
  }

  /** Ends a receiver that a dead process left behind, where the system has no parent-death signal. */
  async endLeftover(): Promise<void> {
    const text = await ifPresent(readFile(`${this.options.scratch}.pid`, 'utf8'));
    const pid = Number.parseInt(text ?? '', 10);
    if (!Number.isInteger(pid) || !(await isAlive(pid))) return;
    const title = await processTitle(pid);
    if (title.includes(this.options.scratch)) signalProcess(pid, 'SIGKILL');
  }

  private async start(until: number): Promise<void> {
    const { workload, scratch, lease } = this.options;
    const { binDirectory } = (await localServer(workload)).installation;
    const identity = await serverIdentity();
    await rm(scratch, { recursive: true, force: true });
    await ownedDirectory(scratch, identity);
    const { host = '', port = 5432, user, password } = await signIn(workload);
    const environment = toolEnvironment(identity);
    if (typeof password === 'string') {
      const passfile = path.join(scratch, 'passfile');
      // libpq looks a socket directory up as "localhost" or as itself, depending on how it was compiled.
      const entries = renderPgpass([{ host: '*', port: '*', database: '*', user, password }]);
      await withDirectory(scratch, [], (folder) => folder.replace('passfile', entries, identity, { sync: false }));
      Object.assign(environment, { PGPASSFILE: passfile });
    }
    const receiver = path.join(binDirectory, 'pg_receivewal');
    const command = [
      ...(await this.parentDeathSignal()),
      receiver,
      '--synchronous',
      '--no-loop',
      '--no-password',
      '--status-interval=1',
      `--directory=${scratch}`,
      `--dbname=${connectionString({ host, port, user, application_name: lease })}`,
    ];
    const { uid, gid } = runAs(identity);
    const owner = uid === undefined || gid === undefined ? '-' : `${uid}:${gid}`;
    const watcher = spawn(process.execPath, [watcherFile(), scratch, owner, ...command], {
      cwd: '/',
      env: environment,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    let said = '';
    watcher.stderr?.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString('utf8')}`.slice(-1_000)));
    watcher.stdin?.on('error', () => undefined);
    this.watcher = watcher;
    watcher.once('error', (error) => {
      this.fault = errorText(error);
      this.ended();
    });
    watcher.once('exit', (code) => {
      this.fault = code === 0 ? null : said.trim() || `it ended with ${code ?? 'a signal'}`;
      this.ended();
    });
    watcher.stdin?.write(`until ${until}\n`);
  }

  private ended(): void {
    this.watcher = undefined;
    this.endedAt = this.clock.monotonic();
  }

  /** Where Linux offers it: the kernel kills the receiver when its watcher dies of whatever. */
  private async parentDeathSignal(): Promise<string[]> {
    const present = await access(SETPRIV, constants.X_OK).then(
      () => true,
      () => false,
    );
    return present ? [SETPRIV, '--pdeathsig', 'KILL', '--'] : [];
  }
}

/** Beside this file, in the source tree as in the built one. */
function watcherFile(): string {
  const self = fileURLToPath(import.meta.url);
  return path.join(path.dirname(self), `lease-watcher${path.extname(self)}`);
}

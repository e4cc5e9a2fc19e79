import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync, closeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { childEnvironment } from '#libs/platform/config';
import { waitFor } from '#libs/platform/clock';
import type { ProcessTable } from './process-table.js';

export interface ProcessSpec {
  /** For example `site metro`. */
  readonly name: string;
  /** The compiled entry point. */
  readonly entry: string;
  readonly arguments?: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Answers true once it serves. */
  readonly ready: () => Promise<boolean>;
}

export class ProcessStartError extends Error {
  constructor(
    name: string,
    readonly logTail: string,
    cause?: unknown,
  ) {
    super(`${name} did not start; the end of its log:\n${logTail}`, { cause });
    this.name = 'ProcessStartError';
  }
}

const LONGEST_PAUSE_MS = 5_000;

/** One process of the stack: started, watched, started again when it ends without being told to. */
export class SupervisedProcess {
  private child: ChildProcess | undefined;
  private wanted = false;
  private failures = 0;
  private restart: NodeJS.Timeout | undefined;

  constructor(
    readonly spec: ProcessSpec,
    private readonly logDirectory: string,
    private readonly table: ProcessTable,
  ) {}

  get pid(): number | undefined {
    return this.child?.pid;
  }

  get logFile(): string {
    return path.join(this.logDirectory, `${this.spec.name.replaceAll(' ', '-')}.log`);
  }

  /** Starts it; {@link ready} waits until it serves. */
  start(): void {
    this.wanted = true;
    if (!this.child) this.launch();
  }

  private launch(): void {
    mkdirSync(this.logDirectory, { recursive: true, mode: 0o700 });
    const log = openSync(this.logFile, 'a', 0o600);
    const child = spawn(process.execPath, ['--enable-source-maps', this.spec.entry, ...(this.spec.arguments ?? [])], {
      env: childEnvironment(this.spec.environment),
      stdio: ['ignore', log, log],
      // A group of its own: Ctrl-C reaches the stack alone, which then stops its processes in order.
      detached: true,
    });
    closeSync(log);
    this.child = child;
    const began = performance.now();
    child.once('exit', () => this.ended(child, performance.now() - began));
    child.once('error', () => this.ended(child, 0));
    if (child.pid !== undefined) void this.table.add(this.spec.name, child.pid);
  }

  private ended(child: ChildProcess, livedMs: number): void {
    if (this.child !== child) return;
    this.child = undefined;
    if (!this.wanted) return;
    this.failures = livedMs > 10_000 ? 0 : this.failures + 1;
    const pause = Math.min(LONGEST_PAUSE_MS, 100 * 2 ** this.failures);
    this.restart = setTimeout(() => this.launch(), pause);
  }

  /** @throws ProcessStartError with the end of its log when it does not serve in time. */
  async ready(timeoutMs: number): Promise<void> {
    try {
      await waitFor(`${this.spec.name} to be ready`, () => this.spec.ready(), { timeoutMs, everyMs: 25 });
    } catch (error) {
      throw new ProcessStartError(this.spec.name, await this.logTail(), error);
    }
  }

  /** A signal to the process as it is; with `SIGKILL` the supervisor starts it again, as it would after a crash. */
  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** kill -9, and it is not started again. */
  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  /** Asks it to end and kills it after `patienceMs`; it is not started again. */
  async stop(patienceMs = 10_000): Promise<void> {
    const patience = setTimeout(() => this.child?.kill('SIGKILL'), patienceMs);
    await this.end('SIGTERM');
    clearTimeout(patience);
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    this.wanted = false;
    clearTimeout(this.restart);
    const child = this.child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    await gone;
  }

  private async logTail(): Promise<string> {
    // Only for the message about a process that does not start, which must come out whatever becomes of the log.
    const text = await readFile(this.logFile, 'utf8').catch(() => '');
    return text.trimEnd().split('\n').slice(-15).join('\n');
  }
}

import { spawn } from 'node:child_process';
import { open, readFile, stat, truncate } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { pause } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { ifPresent } from '#libs/platform/errors';
import { isAlive, processTitle, signalProcess } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';
import type { StateDirectory } from '#libs/sites/agent';
import { tunnelStatus, type TunnelStatus } from './agent-status.js';
import { knock } from './local-door.js';

const LOOK_MS = 1_000;
const ANSWER_MS = 2_000;
/** A tunnel that has not answered so often hangs: nothing it owes anybody is lost by ending it. */
const MISSED_LOOKS = 3;
const START_MS = 10_000;
const STOP_MS = 10_000;
const BACKOFF_FIRST_MS = 200;
const BACKOFF_LONGEST_MS = 10_000;
const LOG_BYTES_MAX = 20 * 1_048_576;

/** Asks the tunnel how it is. @throws DoorClosedError */
export async function askTunnel(directory: StateDirectory): Promise<TunnelStatus> {
  const answer = await knock(directory.tunnelSocket, '/status', { timeoutMs: ANSWER_MS });
  return tunnelStatus.parse(await answer.json());
}

/**
 * Keeps the tunnel process up. It is a process of its own, in a session of its own, because it must outlive `run`: on a
 * kill -9, an update or a bug of `run`, production goes on. So it does not watch its parent; instead each `run` looks for
 * a tunnel first and takes over the one it finds, replaces one of another configuration or version, and kills one that
 * hangs (its degrade receiver dies with it).
 */
export class TunnelKeeper {
  private failures = 0;
  private missed = 0;

  constructor(
    private readonly directory: StateDirectory,
    private readonly fingerprint: string,
    private readonly log: Logger,
  ) {}

  /** Looks after the tunnel until the signal; the tunnel runs on afterwards. */
  async keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.look();
      } catch (error) {
        this.failures += 1;
        this.log.error({ err: error, failures: this.failures }, 'the tunnel is not up');
        await pause(backoff(this.failures), signal);
      }
      await pause(LOOK_MS, signal);
    }
  }

  /** Ends the tunnel in an orderly way; a hanging one by SIGKILL. */
  async stop(): Promise<void> {
    const pid = await this.tunnelPid();
    // One that cannot hear it hangs, and is killed below; without a process there is nothing to stop.
    await knock(this.directory.tunnelSocket, '/stop', { method: 'POST', timeoutMs: ANSWER_MS }).catch(() => undefined);
    if (pid === undefined) return;
    const end = performance.now() + STOP_MS;
    while (performance.now() < end) {
      if (!(await isAlive(pid))) return;
      await delay(50);
    }
    signalProcess(pid, 'SIGKILL');
  }

  private async look(): Promise<void> {
    // No answer, or none that this version understands: whether there is a process tells what to do, and it is logged.
    const status = await askTunnel(this.directory).catch(() => undefined);
    if (status?.fingerprint === this.fingerprint) {
      this.missed = 0;
      this.failures = 0;
      return;
    }
    if (status) {
      this.log.info({ pid: status.pid }, 'the tunnel is of another configuration or version, and is replaced');
      await this.stop();
    } else {
      const pid = await this.tunnelPid();
      if (pid !== undefined) {
        this.missed += 1;
        if (this.missed < MISSED_LOOKS) return;
        this.log.error({ pid }, 'the tunnel hangs, and is killed');
        signalProcess(pid, 'SIGKILL');
      }
    }
    this.missed = 0;
    await this.start();
  }

  private async start(): Promise<void> {
    const size = (await ifPresent(stat(this.directory.tunnelLog)))?.size ?? 0;
    if (size > LOG_BYTES_MAX) await truncate(this.directory.tunnelLog);
    const log = await open(this.directory.tunnelLog, 'a', 0o600);
    const main = fileURLToPath(new URL('./main.js', import.meta.url));
    const args = ['--enable-source-maps', main, 'tunnel', '--config', this.directory.path];
    const child = spawn(process.execPath, args, {
      cwd: '/',
      env: childEnvironment({}),
      stdio: ['ignore', log.fd, log.fd],
      // A session of its own: what ends `run`'s process group or terminal does not end it.
      detached: true,
    });
    await log.close();
    let ended: string | undefined;
    child.once('error', (error) => (ended = error.message));
    child.once('exit', (code, signal) => (ended = `it ended with ${code ?? signal}`));
    child.unref();
    const deadline = performance.now() + START_MS;
    while (performance.now() < deadline) {
      // Not yet; that it did not answer in time at all is thrown below.
      const status = await askTunnel(this.directory).catch(() => undefined);
      if (status) {
        this.log.info({ pid: status.pid }, 'the tunnel is up');
        return;
      }
      if (ended !== undefined) throw new Error(`the tunnel did not start (${ended}); see ${this.directory.tunnelLog}`);
      await delay(50);
    }
    throw new Error(`the tunnel did not answer in time; see ${this.directory.tunnelLog}`);
  }

  /** The process that wrote tunnel.pid, when it still is one of ours. */
  private async tunnelPid(): Promise<number | undefined> {
    const pid = Number.parseInt((await ifPresent(readFile(this.directory.tunnelPid, 'utf8'))) ?? '', 10);
    if (!Number.isInteger(pid) || !(await isAlive(pid))) return undefined;
    const title = await processTitle(pid);
    return title.includes(' tunnel ') && title.includes(this.directory.path) ? pid : undefined;
  }
}

function backoff(failures: number): number {
  return Math.random() * Math.min(BACKOFF_LONGEST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(failures, 10));
}

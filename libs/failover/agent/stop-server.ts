import { spawn } from 'node:child_process';
import { errorText } from '#libs/platform/errors';
import type { ControlData, PostgresServer } from '#libs/platform/postgres';

/** A fast stop ends all sessions and writes its last checkpoint; the others are for a server that does not manage it. */
const FAST_MS = 500;
const IMMEDIATE_MS = 250;
const SERVICE_MS = 60_000;

/** A primary that ended by itself: its last checkpoint is the end of its log. */
const CLEAN = 'shut down';
/** A server that only replays: what it had when it was closed, it has still. Its checkpoint may lie far before that. */
const REPLAYING = new Set(['shut down in recovery', 'in archive recovery']);

/**
 * Before which position all that a stopped server had lies; null when its control file does not tell.
 *
 * @param known what was found when it was stopped before.
 */
export function endOfLog(control: ControlData | null, known: string | null): string | null {
  if (control?.state === CLEAN) return control.checkpointLsn;
  return control && REPLAYING.has(control.state) ? known : null;
}

export interface Stopped {
  readonly stopped: boolean;
  /** False when there was nothing to stop. */
  readonly wasRunning: boolean;
  /** What the control file says of the server's end; null when it cannot be read, or the server runs. */
  readonly control: ControlData | null;
  readonly evidence: string;
}

/**
 * Stops the server within a second: fast, then immediately, then by SIGKILL to all its processes. The agent signals the
 * server itself, since a service manager may take its time; it is told afterwards.
 */
export async function stopServer(server: PostgresServer): Promise<Stopped> {
  const running = await server.running();
  if (!running) {
    return {
      stopped: true,
      wasRunning: false,
      control: await controlOf(server),
      evidence: 'the server was not running',
    };
  }
  const begun = performance.now();
  const said: string[] = [];
  const attempt = async (how: string, stop: () => Promise<void>): Promise<boolean> => {
    try {
      await stop();
      return true;
    } catch (error) {
      said.push(`${how}: ${errorText(error)}`);
      return false;
    }
  };
  const how =
    ((await attempt('fast', () => server.stop('fast', FAST_MS))) && 'by a fast stop') ||
    ((await attempt('immediate', () => server.stop('immediate', IMMEDIATE_MS))) && 'by an immediate stop') ||
    ((await attempt('kill', () => server.kill9())) && 'by SIGKILL');
  const took = Math.round(performance.now() - begun);
  if (!how || (await server.isRunning())) {
    const why = said.join('; ') || 'it was started again';
    return {
      stopped: false,
      wasRunning: true,
      control: null,
      evidence: `the server (process ${running.pid}) could not be stopped: ${why}`,
    };
  }
  const control = await controlOf(server);
  const checkpoint = control?.state === CLEAN ? ', with its shutdown checkpoint' : '';
  const evidence = `the server (process ${running.pid}) was stopped ${how} in ${took} ms${checkpoint}`;
  return { stopped: true, wasRunning: true, control, evidence };
}

/** Lets the service manager know that the server is meant to be down; its own stop finds nothing left to do. */
export async function tellServiceManager(command: readonly string[]): Promise<void> {
  const [program = '', ...args] = command;
  await new Promise<void>((resolve) => {
    const child = spawn(program, args, { stdio: 'ignore', timeout: SERVICE_MS });
    child.once('error', () => resolve());
    child.once('exit', () => resolve());
  });
}

async function controlOf(server: PostgresServer): Promise<ControlData | null> {
  // Missing, damaged, or of a version without tools here: the end of the log is then not known, and said so.
  return server.controlData().catch(() => null);
}

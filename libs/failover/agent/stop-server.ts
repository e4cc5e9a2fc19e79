import { spawn } from 'node:child_process';
import { errorText } from '#libs/platform/errors';
import type { PostgresServer } from '#libs/platform/postgres';

/** A fast stop ends all sessions and writes its last checkpoint; the others are for a server that does not manage it. */
const FAST_MS = 500;
const IMMEDIATE_MS = 250;
const SERVICE_MS = 60_000;

export interface Stopped {
  readonly stopped: boolean;
  /** False when there was nothing to stop. */
  readonly wasRunning: boolean;
  /** True when the server ended by itself and wrote its last checkpoint. */
  readonly clean: boolean;
  readonly evidence: string;
}

/**
 * Stops the server within a second: fast, then immediately, then by SIGKILL to all its processes. The agent signals the
 * server itself, since a service manager may take its time; it is told afterwards.
 */
export async function stopServer(server: PostgresServer): Promise<Stopped> {
  const running = await server.running();
  if (!running) {
    return { stopped: true, wasRunning: false, clean: await wasClean(server), evidence: 'the server was not running' };
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
      clean: false,
      evidence: `the server (process ${running.pid}) could not be stopped: ${why}`,
    };
  }
  const clean = await wasClean(server);
  const evidence = `the server (process ${running.pid}) was stopped ${how} in ${took} ms${clean ? ', with its shutdown checkpoint' : ''}`;
  return { stopped: true, wasRunning: true, clean, evidence };
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

async function wasClean(server: PostgresServer): Promise<boolean> {
  const control = await server.controlData().catch(() => undefined);
  return control?.state === 'shut down' || control?.state === 'shut down in recovery';
}

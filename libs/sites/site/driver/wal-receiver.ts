import { setTimeout as delay } from 'node:timers/promises';
import { childProcesses, signalProcess, type PostgresServer, type SystemProcess } from '#libs/platform/postgres';
import type { PauseResult } from './driver.js';
import { StandbyError } from './errors.js';

const POLL_MS = 10;
/** A receiver that was about to be started when the settings changed shows up within this time. */
const SETTLE_MS = 60;
/** Even SIGKILL does not end a process whose disk does not answer. */
const GIVE_UP_MS = 15_000;

/**
 * Waits until the walreceiver has left, after its source was taken out of the settings and the server was told to read
 * them; kills one that does not leave. One that is frozen by SIGSTOP is woken, since it then leaves by itself; a kill
 * makes the postmaster end all its processes and begin the recovery anew, which costs the WAL since the last
 * restartpoint.
 */
export async function endWalReceiver(server: PostgresServer, killAfterMs: number): Promise<PauseResult> {
  const begun = performance.now();
  let hadReceiver = false;
  let killed = false;
  let absentSince: number | undefined;
  for (;;) {
    const now = performance.now();
    const receiver = await findWalReceiver(server);
    if (!receiver) {
      absentSince ??= now;
      if (now - absentSince >= SETTLE_MS) return { hadReceiver, killed };
    } else {
      hadReceiver = true;
      absentSince = undefined;
      if (receiver.state.startsWith('T')) signalProcess(receiver.pid, 'SIGCONT');
      if (now - begun >= killAfterMs + GIVE_UP_MS) throw new StandbyError('The walreceiver cannot be ended.');
      if (now - begun >= killAfterMs) killed = signalProcess(receiver.pid, 'SIGKILL') || killed;
    }
    await delay(POLL_MS);
  }
}

/** The walreceiver's process, by the title that PostgreSQL gives it; needs no connection, which recovery may refuse. */
export async function findWalReceiver(server: PostgresServer): Promise<SystemProcess | undefined> {
  const running = await server.running();
  if (!running) return undefined;
  const children = await childProcesses(running.pid);
  return children.find((child) => /^postgres:.*\bwal ?receiver\b/.test(child.title));
}

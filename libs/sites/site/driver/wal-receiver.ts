import { setTimeout as delay } from 'node:timers/promises';
import { childProcesses, signalProcess, type PostgresServer, type SystemProcess } from '#libs/platform/postgres';
import type { PauseResult } from './driver.js';
import { StandbyError } from './errors.js';

const POLL_MS = 10;
/** A receiver that was about to be started when the settings changed shows up within this time. */
const SETTLE_MS = 40;
/** Even SIGKILL does not end a process whose disk does not answer. */
const GIVE_UP_MS = 15_000;

/**
 * Ends the walreceiver for good. `detach` takes the source out of the settings and makes the server read them; then one
 * that does not leave is killed. One that is frozen by SIGSTOP is woken, since it then leaves by itself; a kill makes the
 * postmaster end all its processes and begin the recovery anew, which costs the WAL since the last restartpoint.
 */
export async function endWalReceiver(
  server: PostgresServer,
  detach: () => Promise<void>,
  killAfterMs: number,
): Promise<PauseResult> {
  let hadReceiver = (await findWalReceiver(server)) !== undefined;
  await detach();
  const begun = performance.now();
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
      const waited = now - begun;
      if (waited >= killAfterMs + GIVE_UP_MS) throw new StandbyError('The walreceiver cannot be ended.');
      if (waited >= killAfterMs) killed = signalProcess(receiver.pid, 'SIGKILL') || killed;
      else if (receiver.state.startsWith('T')) signalProcess(receiver.pid, 'SIGCONT');
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

import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { VaultCaller } from './ledger.js';
import { Pace } from './pace.js';

/** A timer for less costs more than it keeps back; what is owed is kept in mind. */
const SHORTEST_MS = 5;

/** What one repository may send in and read out in a second: each direction has the whole of it. */
export interface Rate {
  readonly taken: Pace;
  readonly given: Pace;
}

/** The rates of repositories that have one. */
export class Rates {
  private readonly known = new Map<string, Rate & { readonly bytesPerSecond: number }>();

  /** One rate for all who come for a repository together; undefined where there is none. */
  of({ repository, bytesPerSecond }: VaultCaller): Rate | undefined {
    const known = this.known.get(repository);
    if (bytesPerSecond === null) {
      if (known) this.known.delete(repository);
      return undefined;
    }
    if (known?.bytesPerSecond === bytesPerSecond) return known;
    const made = { bytesPerSecond, taken: new Pace(bytesPerSecond), given: new Pace(bytesPerSecond) };
    this.known.set(repository, made);
    return made;
  }
}

/** Undefined when there is nothing to wait for. */
export function turnOf(pace: Pace | undefined, bytes: number, socket: Socket): Promise<void> | undefined {
  const ms = pace?.delayFor(bytes) ?? 0;
  return ms < SHORTEST_MS ? undefined : holdBack(socket, ms);
}

/** Its silence is ours meanwhile: it is not to be cut off for it. */
async function holdBack(socket: Socket, ms: number): Promise<void> {
  const idleMs = socket.timeout ?? 0;
  socket.setTimeout(0);
  await delay(ms, undefined, { ref: false });
  // Unless its request was over before it: the next one's silence, or the rest between two, is not ours to change.
  if (!socket.destroyed && socket.timeout === 0) socket.setTimeout(idleMs);
}

import { LEASE_MARGIN_SECONDS, LEASE_SECONDS } from '#contracts/replication';

export const PROMISE_MS = (LEASE_SECONDS + LEASE_MARGIN_SECONDS) * 1_000;

/**
 * What the agent owes the metro: after an answer "armed" it starts no degrade receiver of its own accord before the
 * metro has stopped believing it. The metro counts from when it sent the pulse, the agent from when it answered, and
 * adds a margin: so only the rates of the two clocks matter.
 *
 * A process that has just started cannot know what its predecessor promised, and takes it that it was a moment ago.
 */
export class ArmedPromise {
  private keptUntil: number;

  /** @param now monotonic milliseconds. */
  constructor(now: number) {
    this.keptUntil = now + PROMISE_MS;
  }

  /** To be called before the answer leaves. */
  give(now: number): void {
    this.keptUntil = now + PROMISE_MS;
  }

  bindsAt(now: number): boolean {
    return now < this.keptUntil;
  }
}

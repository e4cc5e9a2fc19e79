import type { RunEvent, RunState } from '#contracts/failover';
import { pause } from '#libs/platform/clock';

/** A notification may be missed: so a watch looks by itself as well. */
const LOOK_EVERY_MS = 1_000;

export interface RunSight {
  readonly state: RunState;
  /** Above the number that was asked for, in order. */
  readonly events: readonly RunEvent[];
}

/**
 * One run as all who follow it in this process see it: however many they are, the database is read once for each
 * notification and once a second.
 */
export class RunWatch {
  private followers = 0;
  private readonly events: RunEvent[] = [];
  private reading: { readonly state: Promise<RunState>; readonly wakes: number } | undefined;
  private wakes = 0;
  private waiting: Promise<void> | undefined;
  private woken = new AbortController();

  constructor(
    /** What the run is called in notifications. */
    readonly name: string,
    private readonly read: (after: number) => Promise<RunSight>,
  ) {}

  join(): void {
    this.followers += 1;
  }

  /** True when nobody is left. */
  leave(): boolean {
    this.followers -= 1;
    return this.followers === 0;
  }

  /** The run's state and its events above `after`, as read now. @throws what reading throws */
  async look(after: number): Promise<RunSight> {
    const state = await this.shared();
    return { state, events: this.events.filter(({ number }) => number > after) };
  }

  /** Who comes while it is being read takes that reading, unless it began before what woke them. */
  private shared(): Promise<RunState> {
    const { reading, wakes } = this;
    if (reading && reading.wakes === wakes) return reading.state;
    // One after the other: each reads on from where the one before ended. Who asked for that one is told if it failed.
    const before = reading?.state.catch(() => undefined) ?? Promise.resolve();
    const fresh = { state: before.then(() => this.readOn()), wakes };
    this.reading = fresh;
    const done = (): void => {
      if (this.reading === fresh) this.reading = undefined;
    };
    fresh.state.then(done, done);
    return fresh.state;
  }

  private async readOn(): Promise<RunState> {
    const { state, events } = await this.read(this.events.at(-1)?.number ?? 0);
    this.events.push(...events);
    return state;
  }

  wake(): void {
    this.wakes += 1;
    this.woken.abort();
  }

  /** Resolves at the next notification, or after a second. */
  news(): Promise<void> {
    return (this.waiting ??= this.pause().finally(() => (this.waiting = undefined)));
  }

  private async pause(): Promise<void> {
    const { signal } = this.woken;
    await pause(LOOK_EVERY_MS, signal);
    if (signal.aborted) this.woken = new AbortController();
  }
}

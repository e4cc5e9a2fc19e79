import { pause } from '#libs/platform/clock';

/** A notification may be missed: so a watch looks by itself as well. */
const LOOK_EVERY_MS = 1_000;

/** A run or restore as a stream tells it: the newest state counts, its version is the event's number. */
export interface WorkSight {
  readonly version: number;
  readonly ended: boolean;
  readonly view: object;
}

/**
 * One run or restore as all who follow it in this process see it: however many they are, the database is read once for
 * each notification and once a second.
 */
export class WorkWatch {
  private followers = 0;
  private wakes = 0;
  private reading: { readonly sight: Promise<WorkSight>; readonly wakes: number } | undefined;
  private waiting: Promise<void> | undefined;
  private woken = new AbortController();

  constructor(
    /** What it is called in notifications. */
    readonly name: string,
    private readonly read: () => Promise<WorkSight>,
  ) {}

  join(): void {
    this.followers += 1;
  }

  /** True when nobody is left. */
  leave(): boolean {
    this.followers -= 1;
    return this.followers === 0;
  }

  /** As read now, or as it is being read, unless that reading began before what woke us. @throws what reading throws */
  look(): Promise<WorkSight> {
    const { reading, wakes } = this;
    if (reading?.wakes === wakes) return reading.sight;
    const fresh = { sight: this.read(), wakes };
    this.reading = fresh;
    const done = (): void => {
      if (this.reading === fresh) this.reading = undefined;
    };
    fresh.sight.then(done, done);
    return fresh.sight;
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

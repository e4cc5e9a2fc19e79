import { setTimeout as delay } from 'node:timers/promises';
import { Turns } from '#libs/platform/clock';

/** Milliseconds that only ever rise, and waiting for some of them. */
export interface LineTime {
  now(): number;
  wait(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

const REAL: LineTime = {
  now: () => performance.now(),
  wait: (milliseconds, signal) => delay(milliseconds, undefined, signal ? { signal } : {}),
};

/** A token bucket: on average no more than so many bytes per second, with a burst of a quarter second's worth. */
export class BandwidthLimit {
  private tokens: number;
  private filledAt: number;
  private readonly turns = new Turns();

  /** @param bytesPerSecond undefined for no limit. */
  constructor(
    private readonly bytesPerSecond: number | undefined,
    private readonly time: LineTime = REAL,
  ) {
    this.tokens = this.burst;
    this.filledAt = time.now();
  }

  /** Waits until `bytes` may cross the line. Callers are served in their order. */
  take(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === undefined) return Promise.resolve();
    return this.turns.take(() => this.takeNow(bytes, signal));
  }

  /** Gives back what was taken and not used, because the bytes were compressed or the file had shrunk. */
  giveBack(bytes: number): void {
    this.tokens += bytes;
  }

  private get burst(): number {
    return (this.bytesPerSecond ?? 0) / 4;
  }

  private async takeNow(bytes: number, signal?: AbortSignal): Promise<void> {
    // A request larger than the burst runs up a debt, which the next one waits for.
    const rate = this.bytesPerSecond ?? Number.POSITIVE_INFINITY;
    this.refill(rate);
    while (this.tokens < 0) {
      // In short turns, because tokens may be given back meanwhile.
      await this.time.wait(Math.min(100, (-this.tokens / rate) * 1_000 + 1), signal);
      this.refill(rate);
    }
    signal?.throwIfAborted();
    this.tokens -= bytes;
  }

  private refill(rate: number): void {
    const now = this.time.now();
    this.tokens = Math.min(this.burst, this.tokens + ((now - this.filledAt) / 1_000) * rate);
    this.filledAt = now;
  }
}

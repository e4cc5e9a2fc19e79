import { setTimeout as delay } from 'node:timers/promises';

/** A token bucket: on average no more than so many bytes per second, with a burst of a quarter second's worth. */
export class BandwidthLimit {
  private tokens: number;
  private filledAt = performance.now();
  private turn: Promise<void> = Promise.resolve();

  /** @param bytesPerSecond undefined for no limit. */
  constructor(private readonly bytesPerSecond: number | undefined) {
    this.tokens = this.burst;
  }

  /** Waits until `bytes` may cross the line. Callers are served in their order. */
  take(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === undefined) return Promise.resolve();
    const mine = this.turn.then(() => this.takeNow(bytes, signal));
    this.turn = mine.catch(() => undefined);
    return mine;
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
      await delay(Math.min(100, (-this.tokens / rate) * 1_000 + 1), undefined, signal ? { signal } : {});
      this.refill(rate);
    }
    signal?.throwIfAborted();
    this.tokens -= bytes;
  }

  private refill(rate: number): void {
    const now = performance.now();
    this.tokens = Math.min(this.burst, this.tokens + ((now - this.filledAt) / 1_000) * rate);
    this.filledAt = now;
  }
}

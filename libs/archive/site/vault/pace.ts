import { Transform } from 'node:stream';
import { pause } from '#libs/platform/clock';

/** Lets so many bytes a second through, over all the streams that it is given to together. */
export class Pace {
  /** When the bytes that were let through will have taken their time, in milliseconds of this process. */
  private until = 0;

  /** @param bytesPerSecond null: as fast as it goes */
  constructor(private readonly bytesPerSecond: number | null) {}

  through(signal: AbortSignal): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.wait(chunk.length, signal).then(
          () => done(null, chunk),
          (error: unknown) => done(error instanceof Error ? error : new Error('stopped')),
        );
      },
    });
  }

  /** Counts these bytes. @returns for how many milliseconds their stream is to wait before it goes on */
  delayFor(bytes: number): number {
    if (this.bytesPerSecond === null) return 0;
    const now = performance.now();
    this.until = Math.max(this.until, now) + (bytes * 1_000) / this.bytesPerSecond;
    return this.until - now;
  }

  private async wait(bytes: number, signal: AbortSignal): Promise<void> {
    const ms = this.delayFor(bytes);
    if (ms === 0) return;
    await pause(ms, signal);
    signal.throwIfAborted();
  }
}

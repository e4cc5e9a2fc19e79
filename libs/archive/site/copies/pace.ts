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

  private async wait(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === null) return;
    const now = performance.now();
    this.until = Math.max(this.until, now) + (bytes * 1_000) / this.bytesPerSecond;
    await pause(Math.max(0, this.until - now), signal);
    signal.throwIfAborted();
  }
}

/** How far a copy is. */
export interface BackupProgress {
  readonly bytesTotal: number;
  /** In place at the receiver, whether transferred or found there by hash. */
  readonly bytesDone: number;
  /** Crossed the line, over all attempts: compressed, with frame heads. */
  readonly bytesTransferred: number;
  /** Of the first attempt. */
  readonly startedAt: Date;
  /** Bytes that came into place per second, over the last ten seconds. */
  readonly bytesPerSecond: number;
  /** Null while the rate is not known. */
  readonly secondsLeft: number | null;
}

const WINDOW_MS = 10_000;

/** Adds up a copy's progress and its moving rate. */
export class ProgressMeter {
  private readonly samples: { readonly at: number; readonly done: number }[] = [];

  constructor(
    readonly startedAt: Date,
    readonly bytesTotal: number,
    private bytesDone: number,
    public bytesTransferred: number,
  ) {
    this.sample();
  }

  done(bytes: number): void {
    this.bytesDone += bytes;
    this.sample();
  }

  snapshot(): BackupProgress {
    const [first] = this.samples;
    const seconds = first ? (performance.now() - first.at) / 1_000 : 0;
    const rate = first && seconds > 0.2 ? (this.bytesDone - first.done) / seconds : 0;
    return {
      bytesTotal: this.bytesTotal,
      bytesDone: this.bytesDone,
      bytesTransferred: this.bytesTransferred,
      startedAt: this.startedAt,
      bytesPerSecond: Math.round(rate),
      secondsLeft: rate > 0 ? Math.ceil((this.bytesTotal - this.bytesDone) / rate) : null,
    };
  }

  private sample(): void {
    const at = performance.now();
    this.samples.push({ at, done: this.bytesDone });
    while (this.samples.length > 2 && at - (this.samples[0]?.at ?? at) > WINDOW_MS) this.samples.shift();
  }
}

/** Time is injected, so that a test can be at any hour without waiting for it. */
export abstract class Clock {
  /** Wall-clock time, for records that people read. */
  abstract now(): Date;
  /** Milliseconds that never go back, for leases and durations. Comparable within one machine's boot only. */
  abstract monotonic(): number;
}

export class SystemClock extends Clock {
  now(): Date {
    return new Date();
  }

  monotonic(): number {
    return Number(process.hrtime.bigint() / 1_000n) / 1_000;
  }
}

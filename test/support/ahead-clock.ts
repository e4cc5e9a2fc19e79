import { Clock, SystemClock } from '#libs/platform/clock';

/** Time that a test can let pass: a promise of twelve seconds need not be waited for. */
export class AheadClock extends Clock {
  private readonly system = new SystemClock();
  /** Milliseconds. */
  ahead = 0;

  now(): Date {
    return this.system.now();
  }

  monotonic(): number {
    return this.system.monotonic() + this.ahead;
  }
}

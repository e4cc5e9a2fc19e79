import { Inject, Injectable } from '@nestjs/common';
import { createHash } from 'node:crypto';
import { sourceOf } from '#libs/platform/address';
import { Clock } from '#libs/platform/clock';
import { HTTP_OPTIONS, type HttpOptions } from '../http-options.js';
import { type Quota, RateLimiter, TooManyRequestsError } from './rate-limiter.js';

/** Unknown credentials that one source may show in a minute before it is slowed down. */
const OF_SOURCE: Quota = { name: 'refused', calls: 100, seconds: 60 };
/** How often one credential may be refused in a minute before it is not looked up any more. */
const OF_CREDENTIAL: Quota = { name: 'refused-credential', calls: 30, seconds: 60 };
/** Look-ups at once for all sources that are slowed down, and how many may wait for one. */
const SLOW_LANE = { atOnce: 2, waiting: 100 } as const;
/** Credentials remembered as good, by their SHA-256: the newest. */
const REMEMBERED = 20_000;

/**
 * Finds out who calls without letting strangers shut anybody out. What is limited is what fails: a source that shows
 * many unknown credentials has its further ones looked up in a narrow lane and refused with 429, while a credential
 * that is good passes from the same source (a town's people and its attacker may share one address), and one that was
 * good before does not even wait.
 *
 * It counts in this process's memory; what it remembers saves a wait, and admits nobody: each call is looked up.
 */
@Injectable()
export class Doorkeeper {
  private readonly good = new Set<string>();
  private readonly queue: (() => void)[] = [];
  /** Look-ups under way, by source. */
  private readonly pending = new Map<string, number>();
  private inLane = 0;

  /** Its own: a flood of made-up credentials must not push the windows of callers out. */
  private readonly credentials: RateLimiter;

  constructor(
    private readonly limiter: RateLimiter,
    clock: Clock,
    @Inject(HTTP_OPTIONS) private readonly options: HttpOptions,
  ) {
    this.credentials = new RateLimiter(clock);
  }

  /**
   * The caller that `lookUp` finds behind `credential`, or undefined. One that is good once only, such as a proof over a
   * challenge, is not remembered: it would push out those that come again.
   *
   * @throws TooManyRequestsError for an unknown credential that is shown too often, or from a source that shows many.
   */
  async admit<T>(
    address: string,
    credential: string,
    lookUp: () => Promise<T | undefined>,
    { once = false } = {},
  ): Promise<T | undefined> {
    const source = sourceOf(address);
    const hash = createHash('sha256').update(credential).digest('base64');
    const [ofSource, ofCredential] = [this.quota(OF_SOURCE), this.quota(OF_CREDENTIAL)];
    const known = this.good.has(hash);
    const shown = this.credentials.look(ofCredential, hash);
    if (shown.exceeded && !known) throw new TooManyRequestsError(shown.resetSeconds);
    const crowd = this.limiter.look(ofSource, source);
    // Those that are still looked up may all turn out unknown: so many at once count as shown.
    const pending = this.pending.get(source) ?? 0;
    const slow = !known && crowd.remaining <= pending;
    if (!known) this.pending.set(source, pending + 1);
    let found: T | undefined;
    try {
      found = slow ? await this.slowly(lookUp, crowd.resetSeconds) : await lookUp();
    } finally {
      if (!known) this.leave(source);
    }
    if (found !== undefined) {
      if (!once) this.remember(hash);
      return found;
    }
    this.good.delete(hash);
    this.credentials.take(ofCredential, hash);
    const taken = this.limiter.take(ofSource, source);
    if (taken.exceeded) throw new TooManyRequestsError(taken.resetSeconds);
    return undefined;
  }

  private leave(source: string): void {
    const left = (this.pending.get(source) ?? 1) - 1;
    if (left > 0) this.pending.set(source, left);
    else this.pending.delete(source);
  }

  private quota(quota: Quota): Quota {
    return { ...quota, calls: Math.ceil(quota.calls * (this.options.limitFactor ?? 1)) };
  }

  private remember(hash: string): void {
    this.good.delete(hash);
    this.good.add(hash);
    if (this.good.size <= REMEMBERED) return;
    const [oldest] = this.good;
    if (oldest !== undefined) this.good.delete(oldest);
  }

  private async slowly<T>(lookUp: () => Promise<T>, resetSeconds: number): Promise<T> {
    if (this.inLane >= SLOW_LANE.atOnce) {
      if (this.queue.length >= SLOW_LANE.waiting) throw new TooManyRequestsError(resetSeconds);
      await new Promise<void>((resolve) => this.queue.push(resolve));
    } else {
      this.inLane += 1;
    }
    try {
      return await lookUp();
    } finally {
      // The place is handed on, so that nobody who comes later takes it from who waits.
      const next = this.queue.shift();
      if (next) next();
      else this.inLane -= 1;
    }
  }
}

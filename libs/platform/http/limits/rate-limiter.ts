import type { Clock } from '#libs/platform/clock';
import { DomainError } from '#libs/platform/errors';

/** So many calls in so many seconds. */
export interface Quota {
  readonly name: string;
  readonly calls: number;
  readonly seconds: number;
}

export interface QuotaState {
  readonly remaining: number;
  /** Until the window ends. */
  readonly resetSeconds: number;
  readonly exceeded: boolean;
}

export class TooManyRequestsError extends DomainError {
  constructor(retryAfterSeconds: number) {
    super('too-many', 'rate.exceeded', `Too many requests. Try again in ${retryAfterSeconds} s.`, {
      facts: { retryAfterSeconds },
    });
  }
}

interface Window {
  count: number;
  endsAt: number;
}

/** Windows held at most: a flood of addresses must not fill the memory. */
const CAPACITY = 50_000;

/**
 * Counts calls in fixed windows, in this process's memory: a second process doubles what a caller may do, and a
 * restart forgets. It protects the service; passwords have a counter of their own, in the database.
 */
export class RateLimiter {
  private readonly windows = new Map<string, Window>();

  constructor(private readonly clock: Clock) {}

  /** Counts one call and says where that leaves the caller. */
  take(quota: Quota, caller: string): QuotaState {
    return this.state(quota, this.window(quota, caller), 1);
  }

  /** Says whether the quota is used up, without counting. */
  look(quota: Quota, caller: string): QuotaState {
    return this.state(quota, this.window(quota, caller), 0);
  }

  private window(quota: Quota, caller: string): Window {
    const now = this.clock.monotonic();
    const key = `${quota.name}/${caller}`;
    const known = this.windows.get(key);
    if (known && known.endsAt > now) return known;
    if (this.windows.size >= CAPACITY) this.sweep(now);
    const fresh = { count: 0, endsAt: now + quota.seconds * 1_000 };
    this.windows.set(key, fresh);
    return fresh;
  }

  private state(quota: Quota, window: Window, take: 0 | 1): QuotaState {
    const exceeded = window.count + take > quota.calls || (take === 0 && window.count >= quota.calls);
    if (!exceeded) window.count += take;
    return {
      exceeded,
      remaining: Math.max(0, quota.calls - window.count),
      resetSeconds: Math.max(1, Math.ceil((window.endsAt - this.clock.monotonic()) / 1_000)),
    };
  }

  private sweep(now: number): void {
    for (const [key, window] of this.windows) if (window.endsAt <= now) this.windows.delete(key);
    // Still full: forget the oldest tenth rather than grow.
    let surplus = this.windows.size - CAPACITY * 0.9;
    for (const key of this.windows.keys()) {
      if (surplus-- <= 0) break;
      this.windows.delete(key);
    }
  }
}

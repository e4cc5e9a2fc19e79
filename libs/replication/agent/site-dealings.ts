import type { SiteRole } from '#contracts/sites';
import { ArmedPromise } from './promise.js';

/** Without a pulse for so long, a site is unreachable. */
const SILENCE_MS = 3_500;

/** What the agent has heard of each site, and what it owes to it. Times are monotonic milliseconds. */
export class SiteDealings {
  private readonly promises: Readonly<Record<SiteRole, ArmedPromise>>;
  private readonly heardAt = new Map<SiteRole, number>();
  private readonly answers = new Map<SiteRole, number>();
  private readonly refusedBy = new Set<SiteRole>();

  /** @param now a process that has just started owes both sites what its predecessor may have promised. */
  constructor(now: number) {
    this.promises = { metro: new ArmedPromise(now), regional: new ArmedPromise(now) };
  }

  hear(role: SiteRole, refuseLease: boolean, now: number): void {
    this.heardAt.set(role, now);
    // Each site takes back only its own refusal: the one that promotes must not be overruled by the other.
    if (refuseLease) this.refusedBy.add(role);
    else this.refusedBy.delete(role);
  }

  /** A site forbids every change for its promotion. */
  get refused(): boolean {
    return this.refusedBy.size > 0;
  }

  heard(role: SiteRole): boolean {
    return this.heardAt.has(role);
  }

  reachable(role: SiteRole, now: number): boolean {
    const at = this.heardAt.get(role);
    return at !== undefined && now - at < SILENCE_MS;
  }

  /** The site can neither be asked nor believe any more that production waits for it. */
  isPast(role: SiteRole, now: number): boolean {
    return !this.reachable(role, now) && !this.promises[role].bindsAt(now);
  }

  /** To be called before "armed" is answered. */
  promise(role: SiteRole, now: number): void {
    this.promises[role].give(now);
  }

  lastAnswer(role: SiteRole): number | undefined {
    return this.answers.get(role);
  }

  answered(role: SiteRole, now: number): void {
    this.answers.set(role, now);
  }

  /** Only the promises stay. */
  forget(): void {
    this.heardAt.clear();
    this.answers.clear();
    this.refusedBy.clear();
  }
}

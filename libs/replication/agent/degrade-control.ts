import { randomUUID } from 'node:crypto';
import { LEASE_SECONDS, type ProtectionMode, type PulseRequest } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { Sender } from './sample.js';
import { ArmedPromise } from './promise.js';

/** From here on the metro counts as stalled. With a look each second, that is known within ten. */
export const STALL_MS = 8_000;
/** A metro that has come back and stops again gets less patience while production runs without it. */
const RELAPSE_MS = 3_000;
/** Without a pulse for so long, the metro is unreachable. */
const SILENCE_MS = 3_500;

type PulseEntry = PulseRequest['workloads'][number];

interface Grant {
  readonly requestId: string;
  readonly from: 'metro' | 'other-site' | 'control-plane' | 'self';
  /** The metro's walsender at the time: another one, in order, uses the grant up. */
  readonly metroPid: number | null;
  until: number;
}

/** A person's grant that the agent has from the control plane itself. */
export interface OfferedGrant {
  readonly requestId: string;
  /** Monotonic milliseconds. */
  readonly until: number;
}

/** When a pulse was heard. */
export interface Heard {
  /** Monotonic milliseconds. */
  readonly now: number;
  /**
   * Of the answer to the same site's pulse before this one: the site counts a lease from when it sent this one, and that
   * was later. Undefined when there was none; then the next pulse is waited for.
   */
  readonly answeredAt: number | undefined;
}

export interface DegradeInput {
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly mode: ProtectionMode;
  readonly lsn: string;
  /** From the stall watch. */
  readonly stalledMs: number;
  readonly metro: Sender | undefined;
  /** The metro acknowledges, and has flushed everything that was acknowledged without it. */
  readonly metroInOrder: boolean;
  /** The settings are ours and the server is a primary: otherwise a receiver would change nothing. */
  readonly applicable: boolean;
}

export interface DegradeDecision {
  /** For how many milliseconds from now the receiver may run; null: it must not. */
  readonly receiverForMs: number | null;
  /** A frozen walsender of the metro's keeps its place as the synchronous one: end it, or the receiver is of no use. */
  readonly endMetroSender: boolean;
  readonly stalled: boolean;
}

/**
 * Decides when production may go on without the metro (design.md, decision 6). Strict: only with a grant. Available: it
 * asks the metro, and goes on alone once the metro is unreachable and no promise binds. Every grant ends by itself.
 */
export class DegradeControl {
  private readonly promise: ArmedPromise;
  private grant: Grant | null = null;
  private asked: { requestId: string; lsn: string; reason: string } | null = null;
  private readonly refusedBy = new Set<SiteRole>();
  private metroHeardAt: number | undefined;
  private offered: OfferedGrant | null = null;
  private readonly answers = new Map<SiteRole, number>();
  private readonly seen = new Set<string>();
  private readonly usedUp = new Set<string>();
  private degradedSince: Date | null = null;

  constructor(
    now: number,
    private readonly clock: () => Date,
  ) {
    this.promise = new ArmedPromise(now);
  }

  get request(): { requestId: string; lsn: string; reason: string } | null {
    return this.asked;
  }

  get granted(): boolean {
    return this.grant !== null;
  }

  /** Since when production runs on a grant, and for how many more seconds. */
  degraded(now: number): { since: string; secondsLeft: number } | null {
    if (!this.grant || !this.degradedSince) return null;
    const secondsLeft = Math.max(0, Math.round((this.grant.until - now) / 100) / 10);
    return { since: this.degradedSince.toISOString(), secondsLeft };
  }

  /** To be asked as soon as a pulse is there: the one before it may be answered only afterwards. */
  lastAnswer(role: SiteRole): number | undefined {
    return this.answers.get(role);
  }

  /** To be called before an answer leaves. */
  answered(role: SiteRole, now: number): void {
    this.answers.set(role, now);
  }

  /** What the metro site says: its word overrides a promise, since it no longer believes what was promised. */
  hearMetro(entry: PulseEntry, metro: Sender | undefined, heard: Heard): void {
    this.metroHeardAt = heard.now;
    this.hearRefusal(entry);
    if (this.refused || entry.rearm) {
      this.end();
      return;
    }
    if (entry.disarmed) this.accept('metro', entry.disarmed, metro, heard);
    // The metro no longer stands by its record, so nobody may go on because of it.
    else if (this.grant?.from === 'metro') this.end();
    // It may pass the same grant on as soon as it has it; until then its silence is a no.
    else if (this.grant?.from === 'control-plane') this.grant = null;
  }

  /** The other site may pass on a grant of the control plane's, once the metro can no longer believe anything. */
  hearOther(entry: PulseEntry, metro: Sender | undefined, heard: Heard): void {
    this.hearRefusal(entry);
    if (this.refused) {
      this.end();
      return;
    }
    const silent = !this.metroReachable(heard.now) && !this.promise.bindsAt(heard.now);
    if (entry.disarmed && silent) this.accept('other-site', entry.disarmed, metro, heard);
  }

  /** The grant that the control plane serves for this server's epoch, or none: what it no longer serves is over. */
  hearControlPlane(offered: OfferedGrant | null): void {
    this.offered = offered;
    if (offered) this.seen.add(offered.requestId);
    if (this.grant?.from !== 'control-plane') return;
    if (offered?.requestId === this.grant.requestId) this.grant.until = offered.until;
    else this.end();
  }

  decide(input: DegradeInput): DegradeDecision {
    const { now, metro } = input;
    const stalled = input.stalledMs >= STALL_MS;
    if (stalled && !this.grant) this.takeOffered(metro, now);
    if (this.grant && this.grant.from !== 'self' && now >= this.grant.until) this.grant = null;
    if (this.grant && input.metroInOrder && metro && metro.pid !== this.grant.metroPid) this.end();
    if (!input.applicable) this.end();
    else if (input.mode === 'available') this.decideAvailable(input, stalled);
    else if (this.grant?.from === 'self') this.end();
    if (!this.grant) {
      this.degradedSince = null;
      return { receiverForMs: null, endMetroSender: false, stalled };
    }
    this.degradedSince ??= this.clock();
    const frozen = metro?.state === 'streaming' && input.stalledMs >= RELAPSE_MS;
    return { receiverForMs: this.grant.until - now, endMetroSender: frozen, stalled };
  }

  /** To be called before "armed" is answered: from now on what was granted before is worth nothing. */
  promiseArmed(now: number): void {
    for (const id of this.seen) this.usedUp.add(id);
    this.seen.clear();
    this.promise.give(now);
  }

  /** Another protection begins with nothing of this one; only the promise still binds. */
  forget(): void {
    this.end();
    this.offered = null;
    this.refusedBy.clear();
    this.answers.clear();
    this.metroHeardAt = undefined;
  }

  get metroHeard(): boolean {
    return this.metroHeardAt !== undefined;
  }

  metroReachable(now: number): boolean {
    return this.metroHeardAt !== undefined && now - this.metroHeardAt < SILENCE_MS;
  }

  /** Ends whatever is granted or asked for. */
  end(): void {
    if (this.grant) this.usedUp.add(this.grant.requestId);
    this.grant = null;
    this.asked = null;
  }

  /** Like a grant passed on by the other site: only once the metro can no longer believe anything. */
  private takeOffered(metro: Sender | undefined, now: number): void {
    const { offered } = this;
    if (!offered || now >= offered.until || this.refused || this.usedUp.has(offered.requestId)) return;
    if (this.metroReachable(now) || this.promise.bindsAt(now)) return;
    const { requestId, until } = offered;
    this.grant = { requestId, from: 'control-plane', metroPid: metro?.pid ?? null, until };
  }

  /** Each site takes back only its own refusal: the one that promotes must not be overruled by the other. */
  private hearRefusal({ role, refuseLease }: PulseEntry): void {
    if (refuseLease) this.refusedBy.add(role);
    else this.refusedBy.delete(role);
  }

  private get refused(): boolean {
    return this.refusedBy.size > 0;
  }

  private decideAvailable(input: DegradeInput, stalled: boolean): void {
    const { now } = input;
    if (!stalled && !this.grant) {
      this.asked = null;
      return;
    }
    if (this.refused) return;
    const reason = input.metro ? 'the metro site has stopped acknowledging' : 'the metro site does not stream';
    this.asked ??= { requestId: randomUUID(), lsn: input.lsn, reason };
    if (this.grant && this.grant.from !== 'self') return;
    if (this.grant || (!this.metroReachable(now) && !this.promise.bindsAt(now))) {
      const metroPid = this.grant ? this.grant.metroPid : (input.metro?.pid ?? null);
      this.grant = { requestId: this.asked.requestId, from: 'self', metroPid, until: now + LEASE_SECONDS * 1_000 };
    }
  }

  private accept(
    from: 'metro' | 'other-site',
    disarmed: NonNullable<PulseEntry['disarmed']>,
    metro: Sender | undefined,
    { now, answeredAt }: Heard,
  ): void {
    const { requestId, leaseSeconds } = disarmed;
    this.seen.add(requestId);
    if (this.usedUp.has(requestId) || answeredAt === undefined) return;
    const until = answeredAt + leaseSeconds * 1_000;
    if (until <= now) return;
    const metroPid = this.grant?.requestId === requestId ? this.grant.metroPid : (metro?.pid ?? null);
    this.grant = { requestId, from, metroPid, until };
  }
}

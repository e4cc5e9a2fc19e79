import { randomUUID } from 'node:crypto';
import { LEASE_SECONDS, type ProtectionMode } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { PulseEntry } from './fencing.js';
import type { KeptGrants } from './kept-grants.js';
import { MetroReturn, type ReturnRequest } from './metro-return.js';
import type { Sender } from './sample.js';
import { SiteDealings } from './site-dealings.js';

/** From here on the synchronous site counts as stalled. With a look each second, that is known within ten. */
export const STALL_MS = 8_000;
/** One that has come back and stops again gets less patience while production runs without it. */
const RELAPSE_MS = 3_000;

/** What a grant lets the agent do: go on alone for its time, or make that site the synchronous one. */
export type GrantedTo = 'alone' | SiteRole;

interface Grant {
  readonly requestId: string;
  readonly to: GrantedTo;
  readonly from: 'leader' | 'other-site' | 'control-plane' | 'self';
  /** Whom it lets production go on without; of no use once another site leads. */
  readonly leader: SiteRole;
  /** The leader's walsender at the time: another one, in order, uses the grant up. */
  readonly senderPid: number | null;
  until: number;
}

/** A person's grant that the agent has from the control plane itself. */
export interface OfferedGrant {
  readonly requestId: string;
  /** Absent: to go on alone. */
  readonly to?: GrantedTo;
  /** Monotonic milliseconds. */
  readonly until: number;
}

/** When a pulse was heard, and what the server looked like then. */
export interface Heard {
  /** Monotonic milliseconds. */
  readonly now: number;
  /**
   * Of the answer to the same site's pulse before this one: the site counts a lease from when it sent this one, and that
   * was later. Undefined when there was none; then the next pulse is waited for.
   */
  readonly answeredAt: number | undefined;
  /** The synchronous site as last seen; undefined when it is not known, and then no grant is taken. */
  readonly leader: SiteRole | undefined;
  readonly sender: Sender | undefined;
}

export interface DegradeInput {
  /** Monotonic milliseconds. */
  readonly now: number;
  readonly mode: ProtectionMode;
  readonly lsn: string;
  /** From the stall watch. */
  readonly stalledMs: number;
  /** By the server's setting; null when it lists neither site. */
  readonly leader: SiteRole | null;
  /** The leader's walsender. */
  readonly sender: Sender | undefined;
  /** The leader acknowledges, and has flushed everything that was acknowledged without it. */
  readonly inOrder: boolean;
  /** The other site streams and is near enough for production to begin to wait for it. */
  readonly otherNear: boolean;
  /** The settings are ours and the server is a primary: otherwise a receiver would change nothing. */
  readonly applicable: boolean;
}

export interface DegradeDecision {
  /** For how many milliseconds from now the receiver may run; null: it must not. */
  readonly receiverForMs: number | null;
  /** A frozen walsender of the leader's keeps its place as the synchronous one: end it, or the receiver is of no use. */
  readonly endSender: boolean;
  readonly stalled: boolean;
  /** The site to make the synchronous one now; null: leave it. */
  readonly moveTo: SiteRole | null;
  /** It was granted, and that site is not near. */
  readonly moveBlocked: SiteRole | null;
}

/**
 * Decides when production may go on without the synchronous site, and when another one becomes it (design.md, decision
 * 6). Strict: only with a grant. Available: it asks the leader, and goes on alone once that is unreachable and no promise
 * binds. The leader's word overrides a promise, since it no longer believes what was promised; everybody else's counts
 * once the leader can no longer believe anything. Every grant ends by itself, and whenever another site leads.
 */
export class DegradeControl {
  private readonly sites: SiteDealings;
  private readonly back = new MetroReturn();
  private grant: Grant | null = null;
  private asked: { requestId: string; lsn: string; reason: string } | null = null;
  private offered: OfferedGrant | null = null;
  private readonly seen = new Set<string>();
  private readonly usedUp = new Set<string>();
  private degradedSince: Date | null = null;

  constructor(
    now: number,
    private readonly clock: () => Date,
    /** Grants that the control plane keeps, from wherever they were heard. */
    private readonly kept: Pick<KeptGrants, 'hear' | 'overtake' | 'isOvertaken'>,
  ) {
    this.sites = new SiteDealings(now);
  }

  get request(): { requestId: string; lsn: string; reason: string } | null {
    return this.asked;
  }

  /** Back to the metro; for the regional site, while it leads. */
  get returnRequest(): ReturnRequest | null {
    return this.back.request;
  }

  /** Since when production runs on a grant, and for how many more seconds. */
  degraded(now: number): { since: string; secondsLeft: number } | null {
    if (this.grant?.to !== 'alone' || !this.degradedSince) return null;
    const secondsLeft = Math.max(0, Math.round((this.grant.until - now) / 100) / 10);
    return { since: this.degradedSince.toISOString(), secondsLeft };
  }

  /** To be asked as soon as a pulse is there: the one before it may be answered only afterwards. */
  lastAnswer(role: SiteRole): number | undefined {
    return this.sites.lastAnswer(role);
  }

  /** To be called before an answer leaves. */
  answered(role: SiteRole, now: number): void {
    this.sites.answered(role, now);
  }

  /** What a site says with a pulse. */
  hear(entry: PulseEntry, heard: Heard): void {
    const { leader, now } = heard;
    this.sites.hear(entry.role, entry.refuseLease, now);
    // Whether it is taken now or not: a promise that follows makes it worthless.
    if (entry.disarmed?.byOrder) this.kept.hear(entry.disarmed.requestId);
    if (this.sites.refused) this.end();
    else if (leader === entry.role) this.hearLeader(entry, leader, heard);
    // The other site may pass on a grant that the control plane keeps, once the leader can believe nothing any more.
    else if (leader !== undefined && entry.disarmed?.byOrder && this.sites.isPast(leader, now)) {
      this.accept('other-site', entry, leader, heard);
    }
  }

  /** The grant that the control plane serves for this server's epoch, or none: what it no longer serves is over. */
  hearControlPlane(offered: OfferedGrant | null): void {
    this.offered = offered;
    if (offered) this.kept.hear(offered.requestId);
    if (offered?.to === 'metro') this.back.hurry();
    if (this.grant?.from !== 'control-plane') return;
    if (offered?.requestId === this.grant.requestId) this.grant.until = offered.until;
    else this.end();
  }

  decide(input: DegradeInput): DegradeDecision {
    const { now, leader, sender } = input;
    const stalled = input.stalledMs >= STALL_MS;
    // It was done, or it was about another leader.
    if (this.grant && leader !== null && this.grant.leader !== leader) this.end();
    const blocked = leader === null ? null : this.takeOffered(input, leader, stalled);
    if (this.grant && this.grant.from !== 'self' && now >= this.grant.until) this.grant = null;
    if (this.grant && input.inOrder && sender && sender.pid !== this.grant.senderPid) this.end();
    if (!input.applicable) this.end();
    else if (input.mode === 'available' && leader !== null) this.decideAvailable(input, leader, stalled);
    else if (this.grant?.from === 'self') this.end();
    this.back.observe({ now, leader, lsn: input.lsn, near: input.otherNear && !this.sites.refused });
    const { grant } = this;
    if (grant?.to !== 'alone') this.degradedSince = null;
    const still = { receiverForMs: null, endSender: false, stalled, moveTo: null, moveBlocked: blocked };
    if (!grant) return still;
    if (grant.to !== 'alone')
      return { ...still, ...(input.otherNear ? { moveTo: grant.to } : { moveBlocked: grant.to }) };
    this.degradedSince ??= this.clock();
    const frozen = sender?.state === 'streaming' && input.stalledMs >= RELAPSE_MS;
    return { ...still, receiverForMs: grant.until - now, endSender: frozen };
  }

  /**
   * To be called, and what is kept of grants saved, before "armed" is answered to the leader: from now on what was granted before is worth nothing. Its own
   * record of a grant that was heard elsewhere first may follow, and counts.
   */
  promiseArmed(role: SiteRole, now: number): void {
    for (const id of this.seen) this.usedUp.add(id);
    this.seen.clear();
    this.kept.overtake();
    this.sites.promise(role, now);
  }

  /** Another protection begins with nothing of this one; only the promises still bind. */
  forget(): void {
    this.end();
    this.offered = null;
    this.sites.forget();
  }

  get metroHeard(): boolean {
    return this.sites.heard('metro');
  }

  /** Ends whatever is granted or asked for. */
  end(): void {
    if (this.grant) this.usedUp.add(this.grant.requestId);
    this.grant = null;
    this.asked = null;
  }

  private hearLeader(entry: PulseEntry, leader: SiteRole, heard: Heard): void {
    if (entry.rearm) {
      this.end();
      if (leader === 'regional') this.back.hurry();
    } else if (entry.disarmed) this.accept('leader', entry, leader, heard);
    // It no longer stands by its record, so nobody may go on because of it.
    else if (this.grant?.from === 'leader') this.end();
    // It may pass the same grant on as soon as it has it; until then its silence is a no.
    else if (this.grant && this.grant.from !== 'self') this.grant = null;
  }

  /**
   * Like a grant passed on by the other site: only once the leader can no longer believe anything.
   *
   * @returns the site that cannot become the synchronous one although it may; then an available agency goes on alone
   */
  private takeOffered({ now, sender, otherNear }: DegradeInput, leader: SiteRole, stalled: boolean): SiteRole | null {
    const { offered } = this;
    if (!offered || now >= offered.until || this.sites.refused) return null;
    if (this.usedUp.has(offered.requestId) || this.kept.isOvertaken(offered.requestId)) return null;
    const { requestId, to = 'alone', until } = offered;
    if (this.grant && (this.grant.from !== 'self' || to === 'alone')) return null;
    // To return is worth it without a stall too.
    if (to === leader || (!stalled && !this.grant && to !== 'metro') || !this.sites.isPast(leader, now)) return null;
    if (to !== 'alone' && !otherNear) return to;
    this.grant = { requestId, to, from: 'control-plane', leader, senderPid: sender?.pid ?? null, until };
    return null;
  }

  private decideAvailable(input: DegradeInput, leader: SiteRole, stalled: boolean): void {
    const { now, sender } = input;
    if (!stalled && !this.grant) {
      this.asked = null;
      return;
    }
    if (this.sites.refused) return;
    const reason = sender ? `the ${leader} site has stopped acknowledging` : `the ${leader} site does not stream`;
    this.asked ??= { requestId: randomUUID(), lsn: input.lsn, reason };
    if (this.grant && this.grant.from !== 'self') return;
    if (!this.grant && !this.sites.isPast(leader, now)) return;
    const senderPid = this.grant ? this.grant.senderPid : (sender?.pid ?? null);
    const until = now + LEASE_SECONDS * 1_000;
    this.grant = { requestId: this.asked.requestId, to: 'alone', from: 'self', leader, senderPid, until };
  }

  private accept(
    from: 'leader' | 'other-site',
    { disarmed }: PulseEntry,
    leader: SiteRole,
    { now, answeredAt, sender }: Heard,
  ): void {
    if (!disarmed) return;
    const { requestId, leaseSeconds, to = 'alone' } = disarmed;
    if (from === 'leader') this.seen.add(requestId);
    else if (this.kept.isOvertaken(requestId)) return;
    if (to === leader || this.usedUp.has(requestId) || answeredAt === undefined) return;
    const until = answeredAt + leaseSeconds * 1_000;
    if (until <= now) return;
    const senderPid = this.grant?.requestId === requestId ? this.grant.senderPid : (sender?.pid ?? null);
    this.grant = { requestId, to, from, leader, senderPid, until };
  }
}

import type { ReplicationNames } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import { lsnDifference } from '#libs/platform/postgres';
import { ledBy, otherRole, sendersNamed, type Sample, type Sender } from './sample.js';

/** Whether COMMIT waits for the synchronous site, and nobody else can answer in its place. */
export interface Arming {
  readonly armed: boolean;
  readonly because: string | null;
  /** The synchronous site, by synchronous_standby_names alone; null when it lists neither. */
  readonly leader: SiteRole | null;
  /** The leader's own walsender, the metro's when nobody leads; undefined while it is away or cannot be told. */
  readonly sender: Sender | undefined;
  /** The other site's own walsender; undefined too while somebody else bears its name. */
  readonly other: Sender | undefined;
  /** Walsenders that bear the leader's name without being its own. */
  readonly impostors: readonly Sender[];
  /** Walsenders that go by an older setting still, and would let a COMMIT return on their own word. */
  readonly stale: readonly Sender[];
}

function partOf(role: SiteRole, names: ReplicationNames): { application: string; slot: string; role: string } {
  return role === 'metro'
    ? { application: names.metroApplication, slot: names.metroSlot, role: names.metroRole }
    : { application: names.regionalApplication, slot: names.regionalSlot, role: names.regionalRole };
}

/** A site's own walsender: its name, its role, on its slot; and those that have the name alone. */
function bearersOf(sample: Sample, site: SiteRole, names: ReplicationNames) {
  const part = partOf(site, names);
  const bearers = sendersNamed(sample, part.application);
  const slot = sample.slots.find(({ name }) => name === part.slot);
  const genuine = bearers.find(({ pid, user }) => pid === slot?.activePid && user === part.role);
  return { genuine, impostors: bearers.filter((sender) => sender !== genuine) };
}

/**
 * Judges one look at the server. Armed = synchronous_standby_names is exactly ours, and will be after a reload; exactly one
 * walsender bears the leading site's name, it is that site's role on that site's slot, and it is the synchronous one; no
 * other counts as synchronous; nobody bears the degrade receiver's name. (pg_receivewal, or a copy of the site that kept
 * its settings, would satisfy the name alone. A walsender that has not read a changed setting yet lets commits through
 * by the old one: pg_stat_replication shows the priority that it goes by.)
 */
export function judgeArming(sample: Sample, names: ReplicationNames): Arming {
  const leader = ledBy(sample.synchronousNames, names);
  const site = leader ?? 'metro';
  const { genuine, impostors } = bearersOf(sample, site, names);
  const others = bearersOf(sample, otherRole(site), names);
  const leases = sendersNamed(sample, names.lease);
  const stale =
    leader === null
      ? []
      : sample.senders.filter(
          (sender) =>
            sender.sync !== 'async' && sender !== genuine && !impostors.includes(sender) && !leases.includes(sender),
        );
  const verdict = (because: string | null): Arming => ({
    armed: because === null,
    because,
    leader,
    sender: genuine,
    other: others.impostors.length === 0 ? others.genuine : undefined,
    impostors,
    stale,
  });
  if (sample.inRecovery) return verdict('the server is in recovery and accepts no writes');
  if (sample.synchronousNames === '') return verdict('no site is listed in synchronous_standby_names');
  if (leader === null) return verdict('synchronous_standby_names was changed by somebody else');
  if (sample.namesLocked || ledBy(sample.filedNames, names) !== leader) {
    return verdict('a change of synchronous_standby_names is under way');
  }
  if (impostors.length > 0) return verdict(`somebody else streams under the ${site} site's name`);
  if (leases.length > 0) return verdict('the degrade receiver is running');
  if (stale.length > 0) return verdict('a walsender goes by an older synchronous_standby_names still');
  if (!genuine) return verdict(`the ${site} site does not stream`);
  if (genuine.state !== 'streaming') return verdict(`the ${site} site is catching up`);
  if (genuine.sync !== 'sync') return verdict(`the ${site} site is not the synchronous one yet`);
  return verdict(null);
}

/**
 * Remembers what an armed server had acknowledged without the synchronous site before it was armed. Only once that site
 * has flushed all of that may it say "nothing is lost".
 */
export class ArmedFloor {
  private floor: { readonly lsn: string; readonly marks: string } | undefined;
  private reachedAt: Date | undefined;

  /** @param now for the record of since when it is armed. */
  judge(sample: Sample, arming: Arming, now: Date): { armed: boolean; because: string | null; since: Date | null } {
    const { armed, leader, sender } = arming;
    if (!armed || !sender) {
      this.reset();
      return { armed: false, because: arming.because, since: null };
    }
    const marks = `${leader} ${sample.startedAt} ${sample.configurationLoadedAt}`;
    // A reload or a restart between two looks may have let commits through alone: begin anew.
    if (this.floor?.marks !== marks) {
      this.floor = { lsn: sample.lsn, marks };
      this.reachedAt = undefined;
    }
    const { flush } = sender;
    if (!this.reachedAt && flush !== null && lsnDifference(flush, this.floor.lsn) >= 0n) this.reachedAt = now;
    if (this.reachedAt) return { armed: true, because: null, since: this.reachedAt };
    return {
      armed: false,
      because: `the ${leader ?? 'metro'} site still lacks what was acknowledged without it`,
      since: null,
    };
  }

  reset(): void {
    this.floor = undefined;
    this.reachedAt = undefined;
  }
}

/**
 * Tells a synchronous site that has stopped acknowledging from one that is merely idle: it counts from the moment at which
 * there was something to acknowledge. Times are monotonic milliseconds.
 */
export class StallWatch {
  private leader: SiteRole | null = null;
  private flush: string | null | undefined;
  private since: number | undefined;

  /** @returns for how long it has acknowledged nothing although it should have; 0 when all is well. */
  observe(sample: Sample, { leader, sender }: Arming, now: number): number {
    if (sample.inRecovery || leader !== this.leader) {
      this.since = undefined;
      this.flush = undefined;
    }
    this.leader = leader;
    if (sample.inRecovery || leader === null) return 0;
    const flush = sender?.state === 'streaming' ? sender.flush : null;
    const pending = flush === null || lsnDifference(sample.lsn, flush) > 0n;
    const moved = flush !== null && flush !== this.flush;
    this.flush = flush;
    if (!pending || moved) this.since = undefined;
    if (pending) this.since ??= now;
    return this.since === undefined ? 0 : now - this.since;
  }
}

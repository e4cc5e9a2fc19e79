import type { ReplicationNames } from '#contracts/replication';
import { lsnDifference } from '#libs/platform/postgres';
import { isOurs, sendersNamed, type Sample, type Sender } from './sample.js';

/** Whether COMMIT waits for the metro, and nobody else can answer in its place. */
export interface Arming {
  readonly armed: boolean;
  readonly because: string | null;
  /** The metro's own walsender; undefined while it is away, and while it cannot be told from an impostor. */
  readonly metro: Sender | undefined;
  /** Process ids of walsenders that bear a name of ours without being ours. */
  readonly impostors: readonly Sender[];
}

/**
 * Judges one look at the server. Armed = synchronous_standby_names is exactly ours; exactly one walsender bears the
 * metro's name, it is the metro's role on the metro's slot, and it is the synchronous one; nobody bears the degrade
 * receiver's name. (pg_receivewal, or a copy of the metro that kept its settings, would satisfy the name alone.)
 */
export function judgeArming(sample: Sample, names: ReplicationNames): Arming {
  const bearers = sendersNamed(sample, names.metroApplication);
  const slot = sample.slots.find(({ name }) => name === names.metroSlot);
  const genuine = bearers.find(({ pid, user }) => pid === slot?.activePid && user === names.metroRole);
  const impostors = bearers.filter((sender) => sender !== genuine);
  const leases = sendersNamed(sample, names.lease);
  const verdict = (because: string | null): Arming => ({ armed: because === null, because, metro: genuine, impostors });
  if (sample.inRecovery) return verdict('the server is in recovery and accepts no writes');
  if (sample.synchronousNames === '') return verdict('no site is listed in synchronous_standby_names');
  if (!isOurs(sample.synchronousNames, names)) return verdict('synchronous_standby_names was changed by somebody else');
  if (impostors.length > 0) return verdict("somebody else streams under the metro site's name");
  if (leases.length > 0) return verdict('the degrade receiver is running');
  if (!genuine) return verdict('the metro site does not stream');
  if (genuine.state !== 'streaming') return verdict('the metro site is catching up');
  if (genuine.sync !== 'sync') return verdict('the metro site is not the synchronous one yet');
  return verdict(null);
}

/**
 * Remembers what an armed server had acknowledged without the metro before it was armed. Only once the metro has
 * flushed all of that may the metro say "nothing is lost".
 */
export class ArmedFloor {
  private floor: { readonly lsn: string; readonly marks: string } | undefined;
  private reachedAt: Date | undefined;

  /** @param now for the record of since when it is armed. */
  judge(sample: Sample, arming: Arming, now: Date): { armed: boolean; because: string | null; since: Date | null } {
    if (!arming.armed || !arming.metro) {
      this.reset();
      return { armed: false, because: arming.because, since: null };
    }
    const marks = `${sample.startedAt} ${sample.configurationLoadedAt}`;
    // A reload or a restart between two looks may have let commits through alone: begin anew.
    if (this.floor?.marks !== marks) {
      this.floor = { lsn: sample.lsn, marks };
      this.reachedAt = undefined;
    }
    const { flush } = arming.metro;
    if (!this.reachedAt && flush !== null && lsnDifference(flush, this.floor.lsn) >= 0n) this.reachedAt = now;
    if (this.reachedAt) return { armed: true, because: null, since: this.reachedAt };
    return { armed: false, because: 'the metro site still lacks what was acknowledged without it', since: null };
  }

  reset(): void {
    this.floor = undefined;
    this.reachedAt = undefined;
  }
}

/**
 * Tells a metro that has stopped acknowledging from one that is merely idle: it counts from the moment at which there
 * was something to acknowledge. Times are monotonic milliseconds.
 */
export class StallWatch {
  private flush: string | null | undefined;
  private since: number | undefined;

  /** @returns for how long the metro has acknowledged nothing although it should have; 0 when all is well. */
  observe(sample: Sample, arming: Arming, names: ReplicationNames, now: number): number {
    if (sample.inRecovery || !isOurs(sample.synchronousNames, names)) {
      this.since = undefined;
      this.flush = undefined;
      return 0;
    }
    const flush = arming.metro?.state === 'streaming' ? arming.metro.flush : null;
    const pending = flush === null || lsnDifference(sample.lsn, flush) > 0n;
    const moved = flush !== null && flush !== this.flush;
    this.flush = flush;
    if (!pending || moved) this.since = undefined;
    if (pending) this.since ??= now;
    return this.since === undefined ? 0 : now - this.since;
  }
}

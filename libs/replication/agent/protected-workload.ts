import type { Alarm, PulseWorkload, ReplicationNames } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { Clock } from '#libs/platform/clock';
import type { DurableValue, PostgresWorkload } from '#libs/sites/agent';
import { ALARMS, replicationAlarms } from './alarms.js';
import { ArmedFloor, judgeArming, StallWatch, type Arming } from './armed.js';
import type { KeptConnection } from './connection.js';
import { DegradeControl, type OfferedGrant } from './degrade-control.js';
import type { DegradeReceiver } from './degrade-receiver.js';
import type { ProtectionRecord } from './protection-record.js';
import type { Fencing, PulseEntry } from './fencing.js';
import { KeptGrants, type GrantsRecord } from './kept-grants.js';
import { LeaderChange } from './leader-change.js';
import { describeArming, describeServer, type Verdict } from './pulse-answer.js';
import { Sampler, type Sample } from './sample.js';
import { SenderNearness } from './sender-nearness.js';

export interface ProtectedWorkloadParts {
  readonly workload: PostgresWorkload;
  readonly connection: KeptConnection;
  readonly receiver: (lease: string) => DegradeReceiver;
  readonly record: DurableValue<ProtectionRecord>;
  readonly grants: DurableValue<GrantsRecord>;
  readonly fencing: Fencing;
  readonly clock: Clock;
}

/** Names are new with each protection: a leg that is gone does not come back. */
const legOf = (role: SiteRole, { lease }: ReplicationNames): string => `${role} ${lease}`;

interface Pulse {
  readonly entry: PulseEntry;
  /** When this site's pulse before it was answered. */
  readonly answeredAt: number | undefined;
}

/**
 * One workload as the tunnel sees it: answers the sites' pulses and, between them and without them, keeps the degrade
 * lease. All its decisions are taken without a pause between look and verdict, so that a tick and two pulses at once
 * cannot contradict each other.
 */
export class ProtectedWorkload {
  readonly name: string;
  private readonly sampler: Sampler;
  private readonly stall = new StallWatch();
  private readonly nearness = new SenderNearness();
  private readonly floor = new ArmedFloor();
  private readonly returnFloor = new ArmedFloor();
  private readonly control: DegradeControl;
  private readonly grants: KeptGrants;
  private protection: ProtectionRecord | undefined;
  private receiver: DegradeReceiver | undefined;
  private readonly gone = new Set<string>();
  private readonly change: LeaderChange;
  /** The synchronous site, as last seen; undefined before the server was seen. */
  private leader: SiteRole | null | undefined;
  private saved = true;
  private lastVerdict: Verdict | undefined;
  private observed: readonly Alarm[] = [];

  constructor(private readonly parts: ProtectedWorkloadParts) {
    this.name = parts.workload.name;
    this.sampler = new Sampler(parts.connection, parts.clock);
    this.grants = new KeptGrants(parts.grants);
    this.control = new DegradeControl(parts.clock.monotonic(), () => parts.clock.now(), this.grants);
    this.change = new LeaderChange(parts.connection, parts.clock);
  }

  /** Reads what the last process knew, and ends what it may have left behind. */
  async begin(): Promise<void> {
    await this.grants.begin();
    this.protection = await this.parts.record.read();
    if (!this.protection) return;
    this.receiver = this.parts.receiver(this.protection.names.lease);
    await this.receiver.endLeftover();
  }

  /** For `status`: what the last look said, and undefined before the first. */
  get verdict(): Verdict | undefined {
    return this.lastVerdict;
  }

  get protectedAs(): ProtectionRecord | undefined {
    return this.protection;
  }

  get observedAlarms(): readonly Alarm[] {
    return this.observed;
  }

  /** What the agent's continuous preflight has found; goes out with each pulse. */
  setObserved(alarms: readonly Alarm[]): void {
    this.observed = alarms;
  }

  /** What the control plane itself serves of persons' grants; null: nothing. */
  setGrant(offered: OfferedGrant | null): void {
    this.control.hearControlPlane(offered);
    void this.grants.save();
  }

  /** Once a second, pulses or none. Never rejects. */
  async tick(): Promise<void> {
    if (!this.protection || this.parts.fencing.report().fenced) {
      await this.receiver?.stop();
      return;
    }
    await this.look(undefined);
    await this.grants.save();
  }

  async pulse(entry: PulseEntry): Promise<PulseWorkload> {
    const answeredAt = this.control.lastAnswer(entry.role);
    const answer = await this.answerPulse(entry, answeredAt);
    // What an answer "armed" overtakes must stay so, whatever becomes of this process.
    await this.grants.save();
    this.control.answered(entry.role, this.parts.clock.monotonic());
    return answer;
  }

  private async answerPulse(entry: PulseEntry, answeredAt: number | undefined): Promise<PulseWorkload> {
    await this.remember(entry);
    await this.parts.fencing.observe(entry);
    const { fenced, divergence, alarms } = this.parts.fencing.report();
    const empty = this.answer(entry, undefined, undefined, [...alarms]);
    if (fenced) {
      this.control.end();
      await this.receiver?.stop();
      return { ...empty, notArmedBecause: 'the server is fenced', fenced, divergence };
    }
    const seen = await this.look({ entry, answeredAt });
    // A promotion waits for this answer to be sure that nobody acknowledges alone any more.
    if (entry.refuseLease) await this.receiver?.stop();
    if (!seen) {
      const quiet = entry.rebootUntil !== null && new Date(entry.rebootUntil) > this.parts.clock.now();
      const unreachable = quiet ? [] : [ALARMS.unreachable(this.name)];
      return { ...empty, alarms: [...unreachable, ...alarms], divergence };
    }
    const answer = this.answer(entry, seen.sample, seen.verdict, [...seen.verdict.alarms, ...alarms, ...this.observed]);
    // The promise first, the answer afterwards: the site counts from before both. The other site believes nothing.
    const { leader } = seen.verdict;
    if (answer.armed && entry.role === leader) this.control.promiseArmed(leader, this.parts.clock.monotonic());
    return { ...answer, divergence };
  }

  /**
   * A site has let go of the server. What is known of the protection goes with the metro, or with the last site: without
   * its metro, an available workload must not forget how to go on.
   */
  async released(role: SiteRole, names: ReplicationNames): Promise<void> {
    this.gone.add(legOf(role, names));
    if (this.protection?.names.lease !== names.lease) return;
    if (role === 'regional' && this.control.metroHeard && !this.gone.has(legOf('metro', names))) return;
    this.control.forget();
    this.protection = undefined;
    await this.receiver?.stop();
    this.receiver = undefined;
    await this.parts.record.clear();
  }

  async close(): Promise<void> {
    this.control.end();
    await this.grants.save();
    await this.receiver?.stop();
    await this.parts.connection.close();
  }

  /** Stops the receiver at once, before a fence. */
  async endDegrading(): Promise<void> {
    this.control.end();
    await this.receiver?.stop();
  }

  private async remember(entry: PulseEntry): Promise<void> {
    // It pulses until it has heard of its own release.
    if (this.gone.has(legOf(entry.role, entry.names))) return;
    // While a change of the mode is on its way to both sites, the metro's word counts.
    if (entry.role === 'regional' && this.protection?.workloadId === entry.workloadId) return;
    const next = { workloadId: entry.workloadId, mode: entry.mode, names: entry.names };
    if (this.saved && JSON.stringify(next) === JSON.stringify(this.protection)) return;
    if (this.protection?.names.lease !== entry.names.lease) {
      await this.receiver?.stop();
      this.receiver = this.parts.receiver(entry.names.lease);
    }
    this.protection = next;
    // A full disk must not cost the pulse its answer: it is tried again with the next one.
    this.saved = await this.parts.record.write(next).then(
      () => true,
      () => false,
    );
  }

  private async look(pulse: Pulse | undefined): Promise<{ sample: Sample; verdict: Verdict } | undefined> {
    // Whatever keeps the server from answering in time: the pulse says so, and it counts as not armed.
    const sample = await this.sampler.look().catch(() => undefined);
    if (!sample || !this.protection) {
      this.floor.reset();
      this.returnFloor.reset();
      this.lastVerdict = undefined;
      if (pulse) this.hear(pulse, undefined);
      return undefined;
    }
    const arming = judgeArming(sample, this.protection.names);
    this.leader = arming.leader;
    if (pulse) this.hear(pulse, arming);
    const verdict = this.judge(sample, arming, this.protection);
    this.lastVerdict = verdict;
    return { sample, verdict };
  }

  private hear({ entry, answeredAt }: Pulse, arming: Arming | undefined): void {
    const leader = this.leader ?? undefined;
    this.control.hear(entry, { now: this.parts.clock.monotonic(), answeredAt, leader, sender: arming?.sender });
  }

  private judge(sample: Sample, arming: Arming, protection: ProtectionRecord): Verdict {
    const { names, mode } = protection;
    const now = this.parts.clock.monotonic();
    const date = this.parts.clock.now();
    const stalledMs = this.stall.observe(sample, arming, now);
    const { leader, sender } = arming;
    const synchronous = sender?.state === 'streaming' && sender.sync === 'sync' && arming.impostors.length === 0;
    const returned = this.returnFloor.judge(sample, { ...arming, armed: synchronous }, date);
    const decision = this.control.decide({
      now,
      mode,
      lsn: sample.lsn,
      stalledMs,
      leader,
      sender,
      inOrder: returned.armed,
      otherNear: this.nearness.observe(arming.other, sample, now),
      applicable: !sample.inRecovery && leader !== null,
    });
    this.apply(decision.receiverForMs);
    if (decision.endSender && sender) this.change.terminate([sender.pid]);
    const { moveTo, moveBlocked, stalled, receiverForMs } = decision;
    // Commits that only the receiver acknowledged must not be among those that the new leader is said to have.
    if (moveTo !== null && leader !== null && !this.receiver?.running) this.change.begin(leader, moveTo, names);
    this.change.tidy(sample, arming, names);
    const fault = receiverForMs !== null && !this.receiver?.running ? (this.receiver?.lastFault ?? null) : null;
    const { unsaved } = this.grants;
    const alarms = replicationAlarms({ sample, arming, names, mode, stalled, moveBlocked, fault, unsaved });
    const unarmed = (because: string): Verdict => {
      this.floor.reset();
      return { armed: false, because, since: null, leader, alarms };
    };
    const quietSince = Math.max(this.receiver?.quietSince ?? 0, this.change.quietSince);
    if (moveTo !== null || moveBlocked !== null || this.change.underWay) {
      return unarmed('the synchronous site is being changed');
    }
    // A look from before the receiver or a change ended proves nothing: what it let through may be newer.
    if (receiverForMs !== null || this.receiver?.running === true || sample.askedAt < quietSince) {
      return unarmed(`production runs without the ${leader ?? 'metro'} site`);
    }
    return { ...this.floor.judge(sample, arming, date), leader, alarms };
  }

  private apply(receiverForMs: number | null): void {
    const { receiver } = this;
    if (!receiver) return;
    if (receiverForMs !== null) void receiver.hold(receiverForMs);
    else if (receiver.running) void receiver.stop();
  }

  private answer(
    { workloadId, role, names }: PulseEntry,
    sample: Sample | undefined,
    verdict: Verdict | undefined,
    alarms: readonly Alarm[],
  ): PulseWorkload {
    const wallClock = this.parts.clock.now().toISOString();
    const degraded =
      this.control.degraded(this.parts.clock.monotonic()) ??
      (this.receiver?.running ? { since: wallClock, secondsLeft: 0 } : null);
    return {
      ...describeServer(sample, names),
      ...describeArming(role, verdict),
      workloadId,
      wallClock,
      synchronousSite: this.leader ?? null,
      ...(this.protection && { mode: this.protection.mode }),
      disarmRequest: this.control.request,
      returnRequest: this.control.returnRequest,
      degraded,
      fenced: null,
      divergence: null,
      alarms: [...alarms],
    };
  }
}

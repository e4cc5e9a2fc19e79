import { Inject } from '@nestjs/common';
import type { z } from 'zod';
import { peerFollow } from '#contracts/failover';
import { waitFor, WaitTimeoutError } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { lsnDifference } from '#libs/platform/postgres';
import { JobQueue } from '#libs/platform/queue';
import { applicationOf, Claims, Forwarders, reconcileStandbyJob, type Standby, Standbys } from '#libs/replication/site';
import { type PeerCaller, type PeerCommandHandler, PeerHandler, SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { StaleEpochError } from '../failover.errors.js';
import { keptAside } from '../orders/stand-aside.row.js';
import { PeerReseeding } from './peer-reseeding.js';

type Input = z.infer<typeof peerFollow.input>;
type Output = z.infer<typeof peerFollow.output>;

const STREAM_MS = 3_000;

/**
 * The other site has promoted: this standby follows it, by a reload, or is copied from it anew when it holds what the new
 * timeline has not. The other asks again until it is followed; each time it hands over a fresh password.
 */
@PeerHandler(peerFollow)
export class FollowPeerHandler implements PeerCommandHandler<Input, Output> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly forwarders: Forwarders,
    private readonly claims: Claims,
    private readonly reseeding: PeerReseeding,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly queue: JobQueue,
  ) {}

  /** @throws StaleEpochError */
  async answer({ workloadId }: PeerCaller, input: Input, signal: AbortSignal): Promise<Output> {
    const { standby, aside } = await this.work.run(async (tx) => {
      const found = await this.standbys.get(tx, workloadId);
      return { standby: found, aside: await keptAside(tx, found) };
    });
    const known =
      aside?.epoch ?? (standby.follow === 'peer' || standby.state === 'primary' ? standby.epoch : standby.epoch + 1);
    if (input.epoch < known || (standby.state === 'primary' && input.epoch <= standby.epoch)) {
      throw new StaleEpochError(standby.epoch, input.epoch);
    }
    if (standby.state === 'seeding' && standby.follow === 'peer') return { following: false, reason: SEEDING };
    const answer = await this.claims.hold(`standby/${workloadId}`, (held) => this.follow(workloadId, input, held), {
      preempt: true,
      signal,
    });
    this.queue.wake(reconcileStandbyJob, { workloadId });
    return answer ?? { following: false, reason: SEEDING };
  }

  private async follow(workloadId: string, input: Input, signal: AbortSignal): Promise<Output> {
    const standby = await this.work.run((tx) => this.standbys.get(tx, workloadId));
    const phase = await this.driver.phase(workloadId);
    if (phase !== 'running' && phase !== 'stopped') return this.reseed(standby, input, 'It has no whole copy yet.');
    if (standby.state === 'primary') return this.reseed(standby, input, 'It was the primary of an older epoch.');
    // A copy made of the new primary itself is of its line, and is not consistent before it streams.
    const fresh = standby.follow === 'peer' && standby.followWanted && phase === 'stopped';
    if (!fresh && (await this.hasTooMuch(workloadId, input))) {
      return this.reseed(standby, input, 'It has log that the new primary has not.');
    }
    const has = fresh ? standby.slotRestartLsn : (await this.driver.position(workloadId)).flushedLsn;
    if (lacks(has, input)) return this.reseed(standby, input, 'The log that it lacks is no longer kept.');
    await this.forwarders.follow(workloadId, 'peer');
    const port = await this.forwarders.ensure(workloadId);
    await this.driver.follow(workloadId, {
      host: '127.0.0.1',
      port,
      user: input.user,
      password: input.password,
      slotName: input.slot,
      applicationName: applicationOf(standby),
      sslmode: 'disable',
    });
    await this.driver.ensureRunning(workloadId);
    const following = await this.streams(workloadId, input, signal);
    await this.reseeding.followed(standby, input, following);
    return { following, reason: following ? null : 'It has been told whom to follow, and does not stream yet.' };
  }

  private async hasTooMuch(workloadId: string, { promotedTimeline, promotedAtLsn }: Input): Promise<boolean> {
    await this.driver.ensureRunning(workloadId);
    await this.driver.pauseReceiving(workloadId);
    const { flushedLsn, timeline } = await this.driver.position(workloadId);
    return timeline < promotedTimeline && flushedLsn !== null && lsnDifference(flushedLsn, promotedAtLsn) > 0n;
  }

  private async streams(workloadId: string, { promotedTimeline }: Input, signal: AbortSignal): Promise<boolean> {
    try {
      await waitFor(
        'the standby to follow the other site',
        async () => {
          const position = await this.driver.position(workloadId);
          return position.receiverStatus === 'streaming' && position.timeline >= promotedTimeline;
        },
        { timeoutMs: STREAM_MS, everyMs: 30, signal },
      );
      return true;
    } catch (error) {
      if (error instanceof WaitTimeoutError) return false;
      throw error;
    }
  }

  private async reseed(standby: Standby, input: Input, reason: string): Promise<Output> {
    await this.reseeding.begin(standby, input, reason);
    return { following: false, reason: `${reason} ${SEEDING}` };
  }
}

/** @param has null while that is not known: then it is tried, and the next request knows */
const lacks = (has: string | null, { keptFromLsn }: Input): boolean =>
  keptFromLsn !== undefined && has !== null && lsnDifference(keptFromLsn, has) > 0n;

const SEEDING = 'It is being copied from this site anew.';

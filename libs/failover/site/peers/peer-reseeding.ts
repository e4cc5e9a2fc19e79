import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Forwarders, FrontDoors, type Standby, Standbys } from '#libs/replication/site';

/** What this site's row says once the other site is the primary. */
@Injectable()
export class PeerReseeding {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly forwarders: Forwarders,
    private readonly doors: FrontDoors,
  ) {}

  /** It follows, or has at least been told to; the reconciler watches over it from here. */
  async followed(standby: Standby, { epoch }: { readonly epoch: number }, streams: boolean): Promise<void> {
    await this.closeDoor(standby.workloadId);
    await this.work.run(async (tx) => {
      const now = await this.standbys.lock(tx, standby.workloadId);
      await this.standbys.change(tx, now, {
        state: streams ? 'streaming' : 'catching-up',
        reason: streams ? null : 'stream-pending: it follows the other site and does not stream yet',
        changes: { epoch, follow: 'peer', hold: null, holdUntil: null, followWanted: false, retries: 0, retryAt: null },
      });
    });
  }

  /** An older epoch's primary serves nobody any more, here or at the agency. */
  private async closeDoor(workloadId: string): Promise<void> {
    await this.doors.ensure(workloadId);
    await this.doors.lead(workloadId, 'closed');
  }

  /** Its data has gone another way, or stayed too far behind: it is copied from the other site, block by block where it differs. */
  async begin(
    standby: Standby,
    { epoch, keptFromLsn }: { readonly epoch: number; readonly keptFromLsn?: string | undefined },
    reason: string,
  ): Promise<void> {
    await this.forwarders.follow(standby.workloadId, 'peer');
    await this.closeDoor(standby.workloadId);
    await this.work.run(async (tx) => {
      const now = await this.standbys.lock(tx, standby.workloadId);
      await this.standbys.change(tx, now, {
        state: 'preparing',
        reason: `copied-anew: ${reason}`,
        changes: {
          epoch,
          // The copy begins later than this: while the slot keeps all from here, it can be followed.
          slotRestartLsn: keptFromLsn ?? null,
          follow: 'peer',
          followWanted: true,
          promotedAtLsn: null,
          promotedTimeline: null,
          hold: null,
          holdUntil: null,
          retries: 0,
          retryAt: null,
        },
      });
    });
  }
}

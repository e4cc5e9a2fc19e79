import { Inject, Injectable } from '@nestjs/common';
import { type StandAside, standAsideOrder } from '#contracts/failover';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { ArmedLeases, Claims, FrontDoors, reconcileStandbyJob, type Standby, Standbys } from '#libs/replication/site';
import { CarriesOut, type OrderHandler, type ReceivedOrder, SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { RunYielding } from '../runs/run-yielding.js';
import { heldFor, isPast, noteStandAside, WITHOUT_LAPSE } from './stand-aside.row.js';

/** A frozen walreceiver is ended. */
const KILL_AFTER_MS = 1_000;

/** What standing aside changes beside the rows. */
@Injectable()
export class StandAsideReach {
  constructor(
    readonly leases: ArmedLeases,
    readonly claims: Claims,
    readonly doors: FrontDoors,
    readonly queue: JobQueue,
    @Inject(SITE_DRIVER) readonly driver: SiteDriver,
  ) {}
}

/**
 * Keeps this site out of the way of a promotion at the other one. The sites tell each other too, but this word comes
 * also where they do not reach each other, and does not lapse. A run of this site's that is older gives way. Safe to
 * repeat.
 */
@CarriesOut(standAsideOrder)
export class StandAsideHandler implements OrderHandler<StandAside> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly own: RunYielding,
    private readonly reach: StandAsideReach,
  ) {}

  /** @throws NotFoundError when nothing of the workload is here: then nothing can be in the way */
  async carryOut({ payload }: ReceivedOrder<StandAside>): Promise<void> {
    const { standby, cancelled } = await this.note(payload);
    const { workloadId, word } = payload;
    if (standby && word === 'resume') {
      await this.resume(standby);
    } else if (standby) {
      await this.reach.leases.refuse(workloadId);
      await this.reach.claims.hold(`standby/${workloadId}`, () => this.stop(standby), { preempt: true });
    }
    this.own.undo(cancelled);
  }

  /** The standby with the word in its row; undefined when there is nothing to do about it here. */
  private note(
    said: StandAside,
  ): Promise<{ readonly standby: Standby | undefined; readonly cancelled: string | null }> {
    return this.work.run(async (tx) => {
      const { stays, cancelled } = await this.own.standAside(tx, said);
      return { standby: await this.noteIn(tx, said, stays), cancelled };
    });
  }

  private async noteIn(tx: SiteTransaction, said: StandAside, stays: boolean): Promise<Standby | undefined> {
    const standby = await this.standbys.lock(tx, said.workloadId);
    if (isPast(standby, said.epoch)) return undefined;
    const known = await noteStandAside(tx, said);
    if (known?.epoch !== said.epoch || known.word !== said.word) return undefined;
    // The standby is its own run's; one that is cancelled later finds the word in its row.
    if (stays) return undefined;
    if (said.word === 'resume') {
      if (standby.hold !== null && standby.hold !== heldFor(said.epoch)) return undefined;
      return this.standbys.change(tx, standby, { changes: { hold: null, holdUntil: null, followWanted: true } });
    }
    // What is production here goes on until the run asks for its end, which a person may have to confirm first.
    if (said.word === 'hold' && standby.state === 'primary' && standby.hold === null) return undefined;
    return this.standbys.change(tx, standby, {
      // A promotion that was under way counts as one: whatever came of it, this copy is not the newer one's line.
      ...(standby.state === 'promoting' ? { state: 'primary' as const } : {}),
      changes: { hold: heldFor(said.epoch), holdUntil: WITHOUT_LAPSE },
    });
  }

  private async stop({ workloadId, state }: Standby): Promise<void> {
    const { doors, driver } = this.reach;
    if (state === 'primary') {
      await doors.lead(workloadId, 'closed');
      await driver.ensureStopped(workloadId);
    } else if ((await driver.phase(workloadId)) === 'running') {
      await driver.pauseReceiving(workloadId, KILL_AFTER_MS);
    }
  }

  private async resume({ workloadId, state }: Standby): Promise<void> {
    const { leases, doors, queue } = this.reach;
    await leases.allow(workloadId);
    if (state === 'primary') await doors.lead(workloadId, 'standby');
    queue.wake(reconcileStandbyJob, { workloadId });
  }
}

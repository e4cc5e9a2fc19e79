import type { z } from 'zod';
import { degradeOrder, rearmOrder } from '#contracts/replication';
import { SiteUnitOfWork } from '#libs/platform/database';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { ArmedLeases } from '../link/index.js';
import { DegradeNotForRegionalError, DegradeRefusedError } from '../replication.errors.js';
import { Standbys } from '../standbys.service.js';

type Degrade = z.infer<typeof degradeOrder.payload>;
type Rearm = z.infer<typeof rearmOrder.payload>;

/** A person lets production go on without the metro for so long: recorded first, then granted with the next pulse. */
@CarriesOut(degradeOrder)
export class DegradeOrderHandler implements OrderHandler<Degrade> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly leases: ArmedLeases,
  ) {}

  async carryOut({ payload }: ReceivedOrder<Degrade>): Promise<void> {
    const { workloadId, requestId, seconds, reason } = payload;
    await this.work.run(async (tx) => {
      const standby = await this.standbys.get(tx, workloadId);
      if (standby.role !== 'metro') throw new DegradeNotForRegionalError();
      const request = { workloadId, requestId, lsn: null, leaseSeconds: seconds, reason };
      if (!(await this.leases.recordDisarm(tx, request))) throw new DegradeRefusedError();
    });
  }
}

/** The end of such a grant. */
@CarriesOut(rearmOrder)
export class RearmOrderHandler implements OrderHandler<Rearm> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly leases: ArmedLeases,
  ) {}

  async carryOut({ payload: { workloadId } }: ReceivedOrder<Rearm>): Promise<void> {
    await this.work.run(async (tx) => {
      await this.standbys.get(tx, workloadId);
      await this.leases.requestRearm(tx, workloadId);
      await tx.execute('UPDATE standby SET arm_wanted = true, version = version + 1 WHERE workload_id = $1', [
        workloadId,
      ]);
    });
  }
}

import type { z } from 'zod';
import { degradeOrder, rearmOrder } from '#contracts/replication';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { ArmedLeases } from '../link/index.js';
import { DegradeExpiredError, DegradeNotForRegionalError, DegradeRefusedError } from '../replication.errors.js';
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

  /** @throws DegradeNotForRegionalError, DegradeRefusedError, DegradeExpiredError */
  async carryOut({ id, payload }: ReceivedOrder<Degrade>): Promise<void> {
    const { workloadId, requestId, seconds, reason } = payload;
    await this.work.run(async (tx) => {
      const standby = await this.standbys.get(tx, workloadId);
      if (standby.role !== 'metro') throw new DegradeNotForRegionalError();
      const leaseSeconds = seconds - (await ageOf(tx, id));
      if (leaseSeconds <= 0) throw new DegradeExpiredError();
      const request = { workloadId, requestId, lsn: null, leaseSeconds, reason };
      if (!(await this.leases.recordDisarm(tx, request))) throw new DegradeRefusedError();
    });
  }
}

/** Seconds since the order was issued: a grant counts from the person's word, however late it arrives here. */
async function ageOf(tx: SiteTransaction, orderId: string): Promise<number> {
  const [row] = await tx.query<{ age: number }>(
    `SELECT greatest(0, extract(epoch FROM clock_timestamp() - issued_at))::float8 AS age FROM site_order WHERE id = $1`,
    [orderId],
  );
  return row?.age ?? 0;
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

import type { z } from 'zod';
import { degradeOrder, rearmOrder } from '#contracts/replication';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { ArmedLeases } from '../link/index.js';
import { DegradeExpiredError, DegradeRefusedError } from '../replication.errors.js';
import { leadsHere, regionalLeads, SourceReports } from '../source-reports.js';
import { Standbys } from '../standbys.service.js';

type Degrade = z.infer<typeof degradeOrder.payload>;
type Rearm = z.infer<typeof rearmOrder.payload>;

/** For how long a person's word to return to the metro is passed on to an agent that the regional site does not hear. */
const RETURN_SECONDS = 3_600;

/**
 * A person lets production go on without the synchronous site. Recorded first, then granted with the next pulse. Both
 * sites have the order: the one that is the synchronous one can no longer believe what it did, and the other passes the
 * grant on, which counts once that one is silent and owed nothing.
 */
@CarriesOut(degradeOrder)
export class DegradeOrderHandler implements OrderHandler<Degrade> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly leases: ArmedLeases,
    private readonly reports: SourceReports,
  ) {}

  /** @throws DegradeRefusedError, DegradeExpiredError */
  async carryOut({ id, payload }: ReceivedOrder<Degrade>): Promise<void> {
    const { workloadId, requestId, seconds, reason, to = 'alone' } = payload;
    await this.work.run(async (tx) => {
      const standby = await this.standbys.get(tx, workloadId);
      const leaseSeconds = seconds - (await ageOf(tx, id));
      if (leaseSeconds <= 0) throw new DegradeExpiredError();
      if (to === 'regional' && standby.role === 'regional') {
        // Itself it need not forget anything; and as the leader it has nothing to pass on.
        if (leadsHere(standby, await this.reports.of(tx, workloadId))) return;
        await this.leases.passOn(tx, { workloadId, requestId, leaseSeconds, to });
        return;
      }
      const request = { workloadId, requestId, lsn: null, leaseSeconds, reason };
      const recorded = await this.leases.recordDisarm(tx, to === 'regional' ? { ...request, to } : request);
      if (!recorded) throw new DegradeRefusedError();
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

/** The end of such a grant: production is to wait for the metro again. */
@CarriesOut(rearmOrder)
export class RearmOrderHandler implements OrderHandler<Rearm> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly leases: ArmedLeases,
    private readonly reports: SourceReports,
  ) {}

  async carryOut({ id, payload: { workloadId, requestId } }: ReceivedOrder<Rearm>): Promise<void> {
    await this.work.run(async (tx) => {
      const standby = await this.standbys.get(tx, workloadId);
      const report = await this.reports.of(tx, workloadId);
      if (standby.role === 'regional') {
        await this.leases.endGrant(tx, workloadId);
        if (leadsHere(standby, report)) await this.leases.requestRearm(tx, workloadId);
        return;
      }
      const leaseSeconds = RETURN_SECONDS - (await ageOf(tx, id));
      if (regionalLeads(report) && leaseSeconds > 0) {
        await this.leases.passOn(tx, { workloadId, requestId, leaseSeconds, to: 'metro' });
      } else await this.leases.requestRearm(tx, workloadId);
      await tx.execute('UPDATE standby SET arm_wanted = true, version = version + 1 WHERE workload_id = $1', [
        workloadId,
      ]);
    });
  }
}

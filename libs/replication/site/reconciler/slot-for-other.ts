import { Inject, Injectable } from '@nestjs/common';
import { formatLsn, parseLsn } from '#libs/platform/postgres';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { isFresh, type SourceReport } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { slotForOther } from './stage.js';

/** What is kept for the other site when nobody says how far it is. */
const KEPT_BYTES = 1n << 30n;
/** And at most: a site's disk is worth more than the other's re-seeding. */
const KEPT_BYTES_MAX = 16n << 30n;

/**
 * The slot on this standby by which the other site follows after a promotion here. It is made beforehand, so that the log
 * the other still needs is there, and moved on, since nobody reads it meanwhile.
 */
@Injectable()
export class SlotForOther {
  constructor(@Inject(SITE_DRIVER) private readonly driver: SiteDriver) {}

  async keep(standby: Standby, report: SourceReport | undefined, replayedLsn: string | null): Promise<void> {
    if (!standby.peer) return;
    const slot = slotForOther(standby);
    await this.driver.createSlot(standby.workloadId, slot);
    if (replayedLsn === null) return;
    const target = wanted(slot, report, parseLsn(replayedLsn));
    if (target <= 0n) return;
    const client = await this.driver.connect(standby.workloadId, 'mainstay slots');
    try {
      await client.query(
        `SELECT pg_replication_slot_advance(slot_name, $2::pg_lsn) FROM pg_replication_slots
          WHERE slot_name = $1 AND NOT active AND restart_lsn < $2::pg_lsn`,
        [slot, formatLsn(target)],
      );
    } finally {
      await client.end();
    }
  }
}

function wanted(slot: string, report: SourceReport | undefined, replayed: bigint): bigint {
  const atSource = isFresh(report) ? report.report.slots.find((each) => each.name === slot) : undefined;
  const others =
    atSource && atSource.retainedBytes !== null && report?.lsn
      ? parseLsn(report.lsn) - BigInt(Math.ceil(atSource.retainedBytes))
      : replayed - KEPT_BYTES;
  const floor = replayed - KEPT_BYTES_MAX;
  const target = others > floor ? others : floor;
  return target < replayed ? target : replayed;
}

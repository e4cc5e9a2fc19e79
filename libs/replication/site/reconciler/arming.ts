import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { REGIONAL_LEADS_CODE } from '#contracts/replication';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AgentRefusedError } from '#libs/sites/site';
import { ArmedLeases } from '../link/index.js';
import { regionalLeads, SourceReports } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { SourceServer } from './source-server.js';

const AGAIN_MS = 15_000;

/** Whether production waits for the metro's standby. First recorded here, then done there; when arming, the reverse. */
@Injectable()
export class Arming {
  private readonly lastArmed = new Map<string, number>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly source: SourceServer,
    private readonly leases: ArmedLeases,
    private readonly reports: SourceReports,
    private readonly clock: Clock,
  ) {}

  /** @returns false while the regional site leads: the agent returns to the metro, nobody arms over its head */
  async arm(standby: Standby, signal: AbortSignal): Promise<boolean> {
    this.lastArmed.set(standby.workloadId, this.clock.monotonic());
    const { workloadId } = standby;
    const held = await this.work.run(async (tx) => {
      await this.leases.rearmAfterPause(tx, workloadId);
      return regionalLeads(await this.reports.of(tx, workloadId));
    });
    if (held) return false;
    try {
      await this.source.arm(standby, signal);
      return true;
    } catch (error) {
      // What was heard last was before the change.
      if (error instanceof AgentRefusedError && error.code === REGIONAL_LEADS_CODE) return false;
      throw error;
    }
  }

  /** The settings are not ours although they should be: somebody changed them by hand, or arming was cut off. */
  async armAgain(standby: Standby, signal: AbortSignal): Promise<void> {
    const last = this.lastArmed.get(standby.workloadId);
    if (last !== undefined && this.clock.monotonic() - last < AGAIN_MS) return;
    await this.arm(standby, signal);
  }

  /**
   * Lets production go on without this site: for a pause, or for good. Recorded before the agency's settings change, so
   * that no promotion can claim what was not so.
   */
  async disarm(standby: Standby, reason: string, signal: AbortSignal): Promise<void> {
    await this.work.run(async (tx) => {
      const { workloadId } = standby;
      const { disarmedAt } = await this.leases.state(tx, workloadId);
      if (disarmedAt !== null) return;
      await this.leases.recordDisarm(tx, {
        workloadId,
        requestId: randomUUID(),
        lsn: null,
        leaseSeconds: null,
        reason,
      });
    });
    await this.source.disarm(standby, signal);
  }
}

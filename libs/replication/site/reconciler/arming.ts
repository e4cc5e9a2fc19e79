import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { ArmedLeases } from '../link/index.js';
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
    private readonly clock: Clock,
  ) {}

  async arm(standby: Standby, signal: AbortSignal): Promise<void> {
    this.lastArmed.set(standby.workloadId, this.clock.monotonic());
    await this.work.run((tx) => this.leases.rearmAfterPause(tx, standby.workloadId));
    await this.source.arm(standby, signal);
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

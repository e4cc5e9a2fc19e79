import { Inject, Injectable } from '@nestjs/common';
import type { StandbyState } from '#contracts/replication';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { ServerCare } from './server-care.js';
import { MOVED, type Outcome, type Stage } from './stage.js';

/** What is known to break a standby is mended here, and the way that it came is gone again from where it stands. */
@Injectable()
export class RepairStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly server: ServerCare,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly logger: AppLogger,
  ) {}

  async advance(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    const phase = await this.driver.phase(standby.workloadId);
    const whole = phase === 'running' || phase === 'stopped';
    const seen = whole && standby.follow === 'agency' ? await this.lookAtSource(standby, signal) : standby;
    if (whole) {
      await this.driver.ensureRunning(seen.workloadId);
      await this.resumeReplay(seen.workloadId);
    }
    const state: StandbyState = whole ? 'catching-up' : phase === 'seeding' ? 'seeding' : 'preparing';
    await this.work.run((tx) => this.standbys.change(tx, seen, { state, reason: seen.stateReason }));
    return MOVED;
  }

  /** A limit or a tablespace's directory may be what stopped it. Without the agent, the start is tried all the same. */
  private async lookAtSource(standby: Standby, signal: AbortSignal): Promise<Standby> {
    try {
      return await this.server.look(standby, signal);
    } catch (error) {
      signal.throwIfAborted();
      this.logger.log.info({ workloadId: standby.workloadId, reason: errorText(error) }, 'repairing without the agent');
      return this.work.run((tx) => this.standbys.get(tx, standby.workloadId));
    }
  }

  private async resumeReplay(workloadId: string): Promise<void> {
    const position = await this.driver.position(workloadId);
    if (!position.replayPaused || position.parametersInsufficient) return;
    const client = await this.driver.connect(workloadId, 'mainstay repair');
    try {
      await client.query('SELECT pg_wal_replay_resume()');
    } finally {
      await client.end();
    }
  }
}

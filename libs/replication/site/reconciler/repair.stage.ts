import { Inject, Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { CatchUpStage } from './catch-up.stage.js';
import { PrepareStage } from './prepare.stage.js';
import { ServerCare } from './server-care.js';
import { MOVED, type Outcome, type Stage } from './stage.js';

/**
 * What is known to break a standby is mended here, and then its way is gone on from where it stands. It stays broken, and
 * says why, until that has worked: a fault that lasts is told once.
 */
@Injectable()
export class RepairStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly server: ServerCare,
    private readonly prepare: PrepareStage,
    private readonly catchUp: CatchUpStage,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly logger: AppLogger,
  ) {}

  async advance(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    const phase = await this.driver.phase(standby.workloadId);
    if (phase === 'running' || phase === 'stopped') return this.mend(standby, signal);
    if (phase !== 'seeding') return this.prepare.advance(standby, signal);
    const { stateReason: reason } = standby;
    await this.work.run((tx) => this.standbys.change(tx, standby, { state: 'seeding', reason }));
    return MOVED;
  }

  private async mend(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    const seen = await this.started(standby, signal);
    return this.catchUp.advance(await this.replaying(seen, signal), signal);
  }

  /** A limit or a tablespace's directory may be what keeps it from starting: then the agency's server says which. */
  private async started(standby: Standby, signal: AbortSignal): Promise<Standby> {
    // A fresh copy starts only once it knows whom to follow.
    if (standby.followWanted) return standby;
    try {
      await this.driver.ensureRunning(standby.workloadId);
      return standby;
    } catch (error) {
      if (standby.follow === 'peer') throw error;
      const { workloadId } = standby;
      this.logger.log.info({ workloadId, reason: errorText(error) }, 'the standby does not start; asking why');
      const seen = await this.server.look(standby, signal);
      await this.driver.ensureRunning(workloadId);
      return seen;
    }
  }

  private async replaying(standby: Standby, signal: AbortSignal): Promise<Standby> {
    if (standby.followWanted) return standby;
    const { replayPaused, parametersInsufficient } = await this.driver.position(standby.workloadId);
    if (!replayPaused) return standby;
    // What pg_control knows of the primary's limits is enough; the agency need not answer for it.
    if (parametersInsufficient) {
      await this.driver.raiseParameters(standby.workloadId, {});
      return standby.follow === 'agency' && this.server.isDue(standby) ? this.server.look(standby, signal) : standby;
    }
    const client = await this.driver.connect(standby.workloadId, 'mainstay repair');
    try {
      await client.query('SELECT pg_wal_replay_resume()');
    } finally {
      await client.end();
    }
    return standby;
  }
}

import { Inject, Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { leadsHere, SourceReports } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { Arming } from './arming.js';
import { again, MOVED, type Outcome, REST, type Stage } from './stage.js';

/**
 * A pause that a person asked for. Production must not wait for a standby that receives nothing: it is disarmed first,
 * here and then there. The slot stays, within the agency's limit, so that the standby catches up afterwards.
 */
@Injectable()
export class PauseStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly arming: Arming,
    private readonly reports: SourceReports,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  async advance(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    return standby.paused ? this.pause(standby, signal) : this.resume(standby);
  }

  private async pause(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    if (standby.state === 'paused') return REST;
    // Production waits for this site. The pause comes once it waits for the metro again, or for nobody.
    if (leadsHere(standby, await this.work.run((tx) => this.reports.of(tx, standby.workloadId)))) return again(5_000);
    if (standby.role === 'metro' && standby.follow === 'agency')
      await this.arming.disarm(standby, 'protection is paused', signal);
    if ((await this.driver.phase(standby.workloadId)) === 'running')
      await this.driver.pauseReceiving(standby.workloadId);
    await this.work.run((tx) =>
      this.standbys.change(tx, standby, {
        state: 'paused',
        reason: 'paused: protection is paused on request',
        changes: { retries: 0, retryAt: null },
      }),
    );
    return REST;
  }

  private async resume(standby: Standby): Promise<Outcome> {
    const phase = await this.driver.phase(standby.workloadId);
    const whole = phase === 'running' || phase === 'stopped';
    await this.work.run((tx) =>
      this.standbys.change(tx, standby, {
        state: whole ? 'catching-up' : 'preparing',
        changes: { followWanted: true, armWanted: true },
      }),
    );
    return MOVED;
  }
}

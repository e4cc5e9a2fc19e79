import { Inject, Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { MOVED, type Outcome, SEED, type Stage } from './stage.js';

/** Has the copy run, once there is room for it. */
@Injectable()
export class SeedStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  async advance(standby: Standby): Promise<Outcome> {
    const phase = await this.driver.phase(standby.workloadId);
    if (phase !== undefined) return SEED;
    await this.work.run((tx) => this.standbys.change(tx, standby, { state: 'preparing', reason: standby.stateReason }));
    return MOVED;
  }
}

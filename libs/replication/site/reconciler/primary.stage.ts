import { Inject, Injectable } from '@nestjs/common';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { FrontDoors } from '../link/index.js';
import type { Standby } from '../standby.row.js';
import { type Outcome, REST, type Stage } from './stage.js';

/** A standby that was promoted is production: it runs, after a restart of the site too. */
@Injectable()
export class PrimaryStage implements Stage {
  constructor(
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly doors: FrontDoors,
  ) {}

  async advance(standby: Standby): Promise<Outcome> {
    await this.driver.ensureRunning(standby.workloadId);
    // A stop for the other site's run that never came closed it.
    await this.doors.ensure(standby.workloadId);
    await this.doors.lead(standby.workloadId, 'standby');
    return REST;
  }
}

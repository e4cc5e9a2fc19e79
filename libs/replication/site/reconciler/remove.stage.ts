import { Inject, Injectable } from '@nestjs/common';
import { unprotectedResult } from '#contracts/replication';
import { SiteUnitOfWork } from '#libs/platform/database';
import { SITE_DRIVER, SiteOutbox, type SiteDriver } from '#libs/sites/site';
import { DoorAuthorities } from '../certificates/door-authorities.js';
import { leadsHere, SourceReports } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { Arming } from './arming.js';
import { SourceServer } from './source-server.js';
import { MOVED, type Outcome, REST, type Stage } from './stage.js';

const ENDED = 'protection has ended';

/** What a protection has at this site outside of its rows. */
@Injectable()
export class SiteSide {
  constructor(
    @Inject(SITE_DRIVER) readonly driver: SiteDriver,
    readonly authorities: DoorAuthorities,
  ) {}
}

/**
 * The end of a protection, at both ends: production waits for nobody, slot, role and settings are gone from the agency's
 * server, and then data, ports and rows here. An agent that does not answer is waited for, since what it would leave
 * behind fills the agency's disk.
 */
@Injectable()
export class RemoveStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly arming: Arming,
    private readonly source: SourceServer,
    private readonly reports: SourceReports,
    private readonly site: SiteSide,
    private readonly outbox: SiteOutbox,
  ) {}

  async advance(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    if (standby.state !== 'removing') {
      await this.work.run((tx) => this.standbys.change(tx, standby, { state: 'removing', reason: null }));
      return MOVED;
    }
    if (standby.follow === 'agency' && !(await this.isRevoked(standby))) {
      await this.letGo(standby, signal);
    }
    await this.site.driver.remove(standby.workloadId);
    await this.site.authorities.forget(standby.workloadId);
    await this.work.run(async (tx) => {
      const { workloadId, role, tenantId } = standby;
      await this.standbys.change(tx, standby, { state: 'removed' });
      await tx.execute('DELETE FROM standby WHERE workload_id = $1', [workloadId]);
      await this.outbox.emit(tx, unprotectedResult, { tenantId }, { workloadId, role });
    });
    return REST;
  }

  private async letGo(standby: Standby, signal: AbortSignal): Promise<void> {
    const { workloadId, role } = standby;
    if (leadsHere(standby, await this.work.run((tx) => this.reports.of(tx, workloadId)))) {
      // The release takes it off the list first, and production would stand still if the server stopped before that.
      await this.arming.recordDisarm(standby, ENDED);
      await this.source.release(standby, signal);
      return;
    }
    if (role === 'metro') await this.arming.disarm(standby, ENDED, signal);
    const { driver } = this.site;
    if ((await driver.phase(workloadId)) === 'running') await driver.ensureStopped(workloadId);
    await this.source.release(standby, signal);
  }

  /** A revoked agent never answers again: what it left behind is its machine's owner's to remove. */
  private async isRevoked(standby: Standby): Promise<boolean> {
    const rows = await this.work.run((tx) =>
      tx.query('SELECT FROM agent_identity WHERE agent_id = $1 AND revoked_at IS NULL', [standby.agentId]),
    );
    return rows.length === 0;
  }
}

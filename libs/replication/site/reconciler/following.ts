import { Inject, Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { lsnDifference } from '#libs/platform/postgres';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { Credentials } from '../credentials.js';
import { Forwarders } from '../link/index.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { requireSameCluster, SourceServer } from './source-server.js';
import { applicationOf, slotOf } from './stage.js';

/** Whom a standby streams from. */
@Injectable()
export class Following {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly source: SourceServer,
    private readonly credentials: Credentials,
    private readonly forwarders: Forwarders,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly clock: Clock,
  ) {}

  /**
   * Follows the agency's server with a new password, and makes the site fit for what that server says of itself first:
   * a limit or a directory that is missing here stops the replay.
   *
   * @returns the row as it is now; undefined when the agency's slot keeps no log for this standby any more
   */
  async agency(standby: Standby, signal: AbortSignal): Promise<Standby | undefined> {
    const { workloadId } = standby;
    const prepared = await this.source.prepare(standby, false, signal);
    requireSameCluster(standby, prepared.server);
    if (await this.lacksLog(standby, prepared.slotRestartLsn)) return undefined;
    for (const tablespace of prepared.server.tablespaces) {
      await this.driver.ensureTablespaceDirectory(workloadId, tablespace);
    }
    await this.driver.raiseParameters(workloadId, prepared.server.parameters);
    const port = await this.forwarders.ensure(workloadId);
    await this.forwarders.follow(workloadId, 'agency');
    await this.work.run((tx) => this.credentials.keep(tx, workloadId, prepared));
    await this.driver.follow(workloadId, {
      host: '127.0.0.1',
      port,
      user: prepared.user,
      password: prepared.password,
      slotName: slotOf(standby),
      applicationName: applicationOf(standby),
      // The tunnel encrypts; the forwarder listens on the loopback address.
      sslmode: 'disable',
    });
    return this.work.run((tx) =>
      this.standbys.change(tx, standby, {
        changes: {
          server: prepared.server,
          factsAt: this.clock.now(),
          slotRestartLsn: prepared.slotRestartLsn,
          followWanted: false,
        },
      }),
    );
  }

  /** The agent makes a slot anew that was lost: then it keeps the log from a point that this standby has not reached. */
  private async lacksLog(standby: Standby, slotRestartLsn: string | null): Promise<boolean> {
    if (slotRestartLsn === null) return true;
    const has = await this.reached(standby);
    return has !== null && lsnDifference(slotRestartLsn, has) > 0n;
  }

  /** A fresh copy is at the point from which its slot was made; what else does not run is looked at once it does. */
  private async reached(standby: Standby): Promise<string | null> {
    if (standby.seedingSince !== null) return standby.slotRestartLsn;
    if ((await this.driver.phase(standby.workloadId)) !== 'running') return null;
    return (await this.driver.position(standby.workloadId)).flushedLsn;
  }
}

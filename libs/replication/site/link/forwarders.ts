import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { SitePorts } from './site-ports.js';

/** What a standby's walreceiver follows: the agency's server, or the other site's promoted standby. */
export type Followed = 'agency' | 'peer';

/** Forwarders listen here only: nothing but this host's walreceivers may use them. */
export const FORWARD_HOST = '127.0.0.1';

/** The local ports that walreceivers connect to; the link process listens and forwards through the tunnel. */
@Injectable()
export class Forwarders {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly ports: SitePorts,
  ) {}

  /**
   * The workload's port on 127.0.0.1, given once and kept. The link listens on it within a second.
   *
   * @throws NotFoundError when this site does not protect the workload
   */
  async ensure(workloadId: string): Promise<number> {
    return this.work.run(async (tx) => {
      const [row] = await tx.query<{ forward_port: number | null }>(
        `SELECT forward_port FROM standby WHERE workload_id = $1 FOR NO KEY UPDATE`,
        [workloadId],
      );
      if (!row) throw new NotFoundError('workload');
      if (row.forward_port !== null) return row.forward_port;
      const port = await this.ports.find(tx, FORWARD_HOST);
      await tx.execute(`UPDATE standby SET forward_port = $2 WHERE workload_id = $1`, [workloadId, port]);
      return port;
    });
  }

  /** Leads the port to another source; connections to the old one are closed. Safe to repeat. @throws NotFoundError */
  async follow(workloadId: string, followed: Followed): Promise<void> {
    const known = await this.work.run((tx) =>
      tx.execute(`UPDATE standby SET follow = $2 WHERE workload_id = $1`, [workloadId, followed]),
    );
    if (known === 0) throw new NotFoundError('workload');
  }
}

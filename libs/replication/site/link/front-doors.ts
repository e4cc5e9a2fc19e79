import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { SiteSettings } from '#libs/sites/site/gateway';
import { SitePorts } from './site-ports.js';

export const FRONT_DOOR_TARGETS = ['production', 'standby', 'closed'] as const;
export type FrontDoorTarget = (typeof FRONT_DOOR_TARGETS)[number];

export interface FrontDoorAddress {
  readonly host: string;
  readonly port: number;
}
export interface FrontDoorState extends FrontDoorAddress {
  readonly leadsTo: FrontDoorTarget;
}

/** The stable addresses of this site's workloads. The link process listens; these rows say where they lead. */
@Injectable()
export class FrontDoors {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly ports: SitePorts,
    private readonly settings: SiteSettings,
  ) {}

  /**
   * Gives the workload its address, for its lifetime; it leads to production, for nobody until {@link admit} says for
   * whom. Safe to repeat: once given, it stays.
   *
   * @throws NotFoundError when this site does not protect the workload
   */
  async ensure(workloadId: string): Promise<FrontDoorAddress> {
    return this.work.run(async (tx) => {
      const known = await this.of(tx, workloadId);
      if (known) return { host: known.host, port: known.port };
      const present = await tx.query(`SELECT FROM standby WHERE workload_id = $1 FOR KEY SHARE`, [workloadId]);
      if (present.length === 0) throw new NotFoundError('workload');
      const port = await this.ports.find(tx, this.settings.frontDoorHost);
      await tx.execute(
        `INSERT INTO front_door (workload_id, port, leads_to) VALUES ($1, $2, 'production')
         ON CONFLICT (workload_id) DO NOTHING`,
        [workloadId, port],
      );
      const given = await this.of(tx, workloadId);
      if (!given) throw new NotFoundError('workload');
      return { host: given.host, port: given.port };
    });
  }

  /**
   * Leads the address elsewhere; the link closes the connections to the old target at once. Safe to repeat.
   *
   * @throws NotFoundError when the workload has no front door here
   */
  async lead(workloadId: string, target: FrontDoorTarget): Promise<void> {
    await this.work.run(async (tx) => {
      const changed = await tx.execute(
        `UPDATE front_door SET leads_to = $2, changed_at = clock_timestamp() WHERE workload_id = $1 AND leads_to <> $2`,
        [workloadId, target],
      );
      if (changed === 0 && !(await this.of(tx, workloadId))) throw new NotFoundError('front door');
    });
  }

  /**
   * Lets clients of these networks in, and of no others; the link ends the connections of others at once. Safe to repeat;
   * nothing to do when the workload has no front door here.
   */
  async admit(workloadId: string, networks: readonly string[]): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE front_door SET client_networks = $2, changed_at = clock_timestamp()
          WHERE workload_id = $1 AND client_networks <> $2`,
        [workloadId, networks],
      ),
    );
  }

  /** Null when the workload has none here. */
  async of(tx: SiteTransaction, workloadId: string): Promise<FrontDoorState | null> {
    const [row] = await tx.query<{ port: number; leads_to: FrontDoorTarget }>(
      `SELECT port, leads_to FROM front_door WHERE workload_id = $1`,
      [workloadId],
    );
    return row ? { host: this.settings.frontDoorHost, port: row.port, leadsTo: row.leads_to } : null;
  }
}

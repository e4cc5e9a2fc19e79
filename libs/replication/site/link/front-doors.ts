import { Injectable } from '@nestjs/common';
import type { SiteTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';

export type FrontDoorTarget = 'production' | 'standby' | 'closed';
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
  /** Gives the workload its address, for its lifetime; it leads to production. Safe to repeat. */
  async ensure(_workloadId: string): Promise<FrontDoorAddress> {
    throw new NotFoundError('workload');
  }

  /** Leads the address elsewhere and closes the connections to the old target. Safe to repeat. */
  async lead(_workloadId: string, _target: FrontDoorTarget): Promise<void> {}

  async of(_tx: SiteTransaction, _workloadId: string): Promise<FrontDoorState | null> {
    return null;
  }
}

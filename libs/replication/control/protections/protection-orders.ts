import { Injectable } from '@nestjs/common';
import {
  clientNetworksOrder,
  type ProtectionMode,
  protectOrder,
  type ReplicationNames,
  unprotectOrder,
} from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { Transaction } from '#libs/platform/database';
import { Agents, Orders, Sites } from '#libs/sites/control';

/** All that sites are told of a protection. */
export interface ProtectionFacts {
  readonly tenantId: string;
  readonly workloadId: string;
  readonly workloadName: string;
  readonly agentId: string;
  readonly epoch: number;
  readonly mode: ProtectionMode;
  readonly metroSiteId: string | null;
  readonly regionalSiteId: string | null;
  readonly names: ReplicationNames;
  readonly bandwidthBytesPerSecond: number | null;
  readonly paused: boolean;
  readonly rebootUntil: Date | null;
  readonly clientNetworks: readonly string[];
}

/** Tells both sites of a protection what to do; the caller holds the workload's row. */
@Injectable()
export class ProtectionOrders {
  constructor(
    private readonly orders: Orders,
    private readonly sites: Sites,
    private readonly agents: Agents,
  ) {}

  /**
   * Orders the protection as it is now at each of its sites. Repeating it with other values changes it there. A front door
   * is closed until it is told of a network, so an empty list is left out unless `closes`: a site that does not know the
   * list yet would refuse the whole order.
   */
  async protect(tx: Transaction, facts: ProtectionFacts, closes = false): Promise<void> {
    const legs = legsOf(facts);
    const siteIds = legs.map(({ siteId }) => siteId);
    await this.agents.assign(tx, facts.tenantId, facts.agentId, siteIds);
    const known = await this.sites.facts(tx, siteIds);
    for (const { role, siteId } of legs) {
      const peer = known.get(siteIds.find((id) => id !== siteId) ?? '')?.peer ?? null;
      const { tenantId, workloadId, workloadName, agentId, mode, epoch, names } = facts;
      const { bandwidthBytesPerSecond, paused } = facts;
      const rebootUntil = facts.rebootUntil?.toISOString() ?? null;
      await this.orders.issue(tx, {
        siteId,
        tenantId,
        contract: protectOrder,
        payload: {
          workloadId,
          agentId,
          workloadName,
          role,
          mode,
          epoch,
          names,
          peer,
          bandwidthBytesPerSecond,
          paused,
          rebootUntil,
          ...((closes || facts.clientNetworks.length > 0) && { clientNetworks: [...facts.clientNetworks] }),
        },
      });
    }
  }

  /** Has each site open its front door to these networks, and to no others. */
  async admitClients(
    tx: Transaction,
    facts: Pick<ProtectionFacts, 'tenantId' | 'workloadId' | 'metroSiteId' | 'regionalSiteId' | 'clientNetworks'>,
  ): Promise<void> {
    const payload = { workloadId: facts.workloadId, clientNetworks: [...facts.clientNetworks] };
    for (const { siteId } of legsOf(facts)) {
      await this.orders.issue(tx, { siteId, tenantId: facts.tenantId, contract: clientNetworksOrder, payload });
    }
  }

  /** Has each site leave nothing behind. */
  async unprotect(
    tx: Transaction,
    facts: Pick<ProtectionFacts, 'tenantId' | 'workloadId' | 'metroSiteId' | 'regionalSiteId'>,
  ): Promise<string[]> {
    const siteIds = legsOf(facts).map(({ siteId }) => siteId);
    for (const siteId of siteIds) {
      const payload = { workloadId: facts.workloadId };
      await this.orders.issue(tx, { siteId, tenantId: facts.tenantId, contract: unprotectOrder, payload });
    }
    return siteIds;
  }
}

export function legsOf(
  facts: Pick<ProtectionFacts, 'metroSiteId' | 'regionalSiteId'>,
): { role: SiteRole; siteId: string }[] {
  const legs: { role: SiteRole; siteId: string }[] = [];
  if (facts.metroSiteId !== null) legs.push({ role: 'metro', siteId: facts.metroSiteId });
  if (facts.regionalSiteId !== null) legs.push({ role: 'regional', siteId: facts.regionalSiteId });
  return legs;
}

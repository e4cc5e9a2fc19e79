import { Injectable } from '@nestjs/common';
import { failoverOrder, type FailoverPayload } from '#contracts/failover';
import type { TenantTransaction } from '#libs/platform/database';
import { Orders, Sites } from '#libs/sites/control';

/** Orders a run at its site, with where to find the other one. */
@Injectable()
export class RunOrders {
  constructor(
    private readonly sites: Sites,
    private readonly orders: Orders,
  ) {}

  async issue(
    tx: TenantTransaction,
    siteId: string,
    otherSiteId: string | undefined,
    payload: Omit<FailoverPayload, 'otherSite'>,
  ): Promise<{ id: string }> {
    const others = otherSiteId === undefined ? undefined : await this.sites.facts(tx, [otherSiteId]);
    const otherSite = others?.get(otherSiteId ?? '')?.peer ?? null;
    return this.orders.issue(tx, {
      siteId,
      tenantId: tx.tenantId,
      contract: failoverOrder,
      payload: { ...payload, otherSite },
    });
  }
}

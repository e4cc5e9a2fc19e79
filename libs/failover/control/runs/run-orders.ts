import { Injectable } from '@nestjs/common';
import { failoverOrder, type FailoverPayload, type StandAside, standAsideOrder } from '#contracts/failover';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { Orders, Sites } from '#libs/sites/control';

/** The promotion of a run, as far as its site has told it. */
export interface RunOutcome {
  readonly word: 'promoted' | 'resume';
  readonly promotedAtLsn: string | null;
  readonly promotedTimeline: number | null;
}

export const NOT_PROMOTED: RunOutcome = { word: 'resume', promotedAtLsn: null, promotedTimeline: null };

interface RunKey {
  readonly id: string;
  readonly tenantId: string;
}

/** Orders a run at its site, with where to find the other one, and keeps that other one out of its way. */
@Injectable()
export class RunOrders {
  constructor(
    private readonly sites: Sites,
    private readonly orders: Orders,
  ) {}

  /** The run's order, and the other site's to hold, in the declaration's transaction. */
  async issue(
    tx: TenantTransaction,
    siteId: string,
    otherSiteId: string | undefined,
    payload: Omit<FailoverPayload, 'otherSite'>,
  ): Promise<{ id: string }> {
    const others = otherSiteId === undefined ? undefined : await this.sites.facts(tx, [otherSiteId]);
    const otherSite = others?.get(otherSiteId ?? '')?.peer ?? null;
    const order = await this.orders.issue(tx, {
      siteId,
      tenantId: tx.tenantId,
      contract: failoverOrder,
      payload: { ...payload, otherSite },
    });
    if (otherSiteId !== undefined) {
      const { runId, workloadId, epoch } = payload;
      const word = { word: 'hold', promotedAtLsn: null, promotedTimeline: null } as const;
      await this.standAside(tx, otherSiteId, tx.tenantId, { runId, workloadId, epoch, ...word });
    }
    return order;
  }

  /** Tells whichever site was ordered to hold for this run what became of it. */
  async ended(tx: Transaction, run: RunKey, outcome: RunOutcome): Promise<void> {
    const held = await tx.query<{ siteId: string; payload: StandAside }>(
      `SELECT DISTINCT site_id AS "siteId", payload FROM outgoing_order
        WHERE tenant_id = $1 AND kind = $2 AND payload->>'runId' = $3 AND payload->>'word' = 'hold'`,
      [run.tenantId, standAsideOrder.kind, run.id],
    );
    for (const { siteId, payload } of held) {
      await this.standAside(tx, siteId, run.tenantId, { ...payload, ...outcome });
    }
  }

  private async standAside(tx: Transaction, siteId: string, tenantId: string, payload: StandAside): Promise<void> {
    await this.orders.issue(tx, { siteId, tenantId, contract: standAsideOrder, payload });
  }
}

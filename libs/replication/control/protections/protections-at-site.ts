import { Injectable } from '@nestjs/common';
import type { ProviderTransaction } from '#libs/platform/database';
import { ProtectionOrders } from './protection-orders.js';
import { ProtectionStore } from './protection-store.js';

/** What staff's changes to a site mean for the protections of all agencies there. */
@Injectable()
export class ProtectionsAtSite {
  constructor(
    private readonly store: ProtectionStore,
    private readonly protectionOrders: ProtectionOrders,
  ) {}

  /** How many protections have a part at this site: it cannot be retired before. */
  async count(tx: ProviderTransaction, siteId: string): Promise<number> {
    const [row] = await tx.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM protection
        WHERE removed_at IS NULL AND (metro_site_id = $1 OR regional_site_id = $1)`,
      [siteId],
    );
    return row?.count ?? 0;
  }

  /** Orders the protections at this site anew, because its gateway or key is another now: its peers dial there. */
  async siteMoved(tx: ProviderTransaction, siteId: string): Promise<void> {
    const concerned = await tx.query<{ tenantId: string; workloadId: string }>(
      `SELECT w.tenant_id AS "tenantId", w.id AS "workloadId"
         FROM workload w JOIN protection p ON p.tenant_id = w.tenant_id AND p.workload_id = w.id
        WHERE p.state = 'protecting' AND p.metro_site_id IS NOT NULL AND p.regional_site_id IS NOT NULL
          AND $1 IN (p.metro_site_id, p.regional_site_id)
        ORDER BY w.id FOR UPDATE OF w`,
      [siteId],
    );
    for (const { tenantId, workloadId } of concerned) {
      const protection = await this.store.find(tx, tenantId, workloadId);
      if (protection?.state === 'protecting') await this.protectionOrders.protect(tx, protection);
    }
  }
}

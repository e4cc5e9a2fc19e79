import { Injectable, type OnModuleInit } from '@nestjs/common';
import { standbyHealth } from '#contracts/replication';
import type { SiteSnapshot } from '#contracts/sites';
import type { ProviderTransaction } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { type SnapshotStore, SnapshotStores } from '#libs/sites/control';

/** Keeps what a site measured of each workload, in one statement; only of workloads that it has a part in. */
@Injectable()
export class HealthStore implements SnapshotStore, OnModuleInit {
  constructor(
    private readonly stores: SnapshotStores,
    private readonly logger: AppLogger,
  ) {}

  onModuleInit(): void {
    this.stores.register(this);
  }

  async store(tx: ProviderTransaction, snapshot: SiteSnapshot): Promise<void> {
    const readable = snapshot.workloads.flatMap((one) => {
      const parsed = standbyHealth.safeParse(one);
      if (!parsed.success) this.logger.log.warn({ siteId: snapshot.siteId, err: parsed.error }, 'unreadable health');
      return parsed.success ? [parsed.data] : [];
    });
    if (readable.length === 0) return;
    await tx.execute(
      `INSERT INTO standby_health (tenant_id, workload_id, site_id, received_at, measured_at, health)
       SELECT p.tenant_id, p.workload_id, $1, now(), $2, h
         FROM jsonb_array_elements($3::jsonb) h
         JOIN protection p ON p.tenant_id = (h->>'tenantId')::uuid AND p.workload_id = (h->>'workloadId')::uuid
        WHERE p.removed_at IS NULL AND $1 IN (p.metro_site_id, p.regional_site_id)
       ON CONFLICT (tenant_id, workload_id, site_id) DO UPDATE
         SET received_at = EXCLUDED.received_at, measured_at = EXCLUDED.measured_at, health = EXCLUDED.health`,
      [snapshot.siteId, snapshot.at, JSON.stringify(readable)],
    );
  }
}

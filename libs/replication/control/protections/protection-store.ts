import { Injectable } from '@nestjs/common';
import type { StandbyHealth } from '#contracts/replication';
import type { Transaction } from '#libs/platform/database';
import { type KeptHealth, regionalMayLead } from '../health/health.js';
import { NotProtectedError, RegionalSynchronousError } from '../replication.errors.js';
import { type ProtectionState, protectionStatesBefore } from '../protection.states.js';
import type { ProtectionFacts } from './protection-orders.js';

/** A protection with what is needed of its workload. */
export interface ProtectionRow extends ProtectionFacts {
  readonly id: string;
  readonly activeSiteId: string | null;
  readonly state: ProtectionState;
  readonly warnings: readonly string[];
  readonly removingAt: readonly string[];
  readonly createdAt: Date;
}

const QUERY = `SELECT p.id, p.tenant_id AS "tenantId", p.workload_id AS "workloadId", w.name AS "workloadName",
    p.agent_id AS "agentId", w.epoch, w.active_site_id AS "activeSiteId", p.state, p.mode,
    p.metro_site_id AS "metroSiteId", p.regional_site_id AS "regionalSiteId", p.names,
    p.bandwidth_bytes_per_second AS "bandwidthBytesPerSecond", p.paused, p.reboot_until AS "rebootUntil", p.client_networks AS "clientNetworks", p.warnings,
    p.removing_at AS "removingAt", p.created_at AS "createdAt"
  FROM protection p JOIN workload w ON w.tenant_id = p.tenant_id AND w.id = p.workload_id
  WHERE p.tenant_id = $1 AND p.workload_id = $2 AND p.removed_at IS NULL`;

/** Whether the newest grant of the epoch may still make the regional site the synchronous one, and whether any did. */
const GRANTS = `
  SELECT bool_or(g.kind = 'degrade' AND g.target = 'regional') AS granted,
         (array_agg(g.kind = 'degrade' AND g.target = 'regional'
            AND g.granted_at + make_interval(secs => g.seconds) > clock_timestamp() ORDER BY g.granted_at DESC))[1] AS open
    FROM degrade_grant g WHERE g.tenant_id = $1 AND g.workload_id = $2 AND g.epoch = $3`;

/** A site that was silent for so long is left out of a removal, if a person repeats it. */
const GONE_SECONDS = 900;

/** Reads protections and moves them from state to state. */
@Injectable()
export class ProtectionStore {
  async find(tx: Transaction, tenantId: string, workloadId: string): Promise<ProtectionRow | undefined> {
    const [row] = await tx.query<ProtectionRow & { bandwidthBytesPerSecond: string | null }>(QUERY, [
      tenantId,
      workloadId,
    ]);
    if (!row) return undefined;
    // bigint arrives as text; a rate fits a double.
    const bandwidth: string | null = row.bandwidthBytesPerSecond;
    return { ...row, bandwidthBytesPerSecond: bandwidth === null ? null : Number(bandwidth) };
  }

  /** @throws NotProtectedError */
  async get(tx: Transaction, tenantId: string, workloadId: string): Promise<ProtectionRow> {
    const row = await this.find(tx, tenantId, workloadId);
    if (!row) throw new NotProtectedError();
    return row;
  }

  /**
   * For what a site says: holds the workload's row, as everybody does who changes its protection, and answers the
   * protection if this site has a part in it. Undefined when it has none: then the site has nothing to say of it.
   */
  async ofSite(
    tx: Transaction,
    tenantId: string | null,
    workloadId: string,
    siteId: string,
  ): Promise<ProtectionRow | undefined> {
    if (tenantId === null) return undefined;
    await tx.query(`SELECT id FROM workload WHERE tenant_id = $1 AND id = $2 FOR UPDATE`, [tenantId, workloadId]);
    const row = await this.find(tx, tenantId, workloadId);
    return row && (row.metroSiteId === siteId || row.regionalSiteId === siteId) ? row : undefined;
  }

  /** The newest measurements of a workload, with their ages. */
  async kept(tx: Transaction, tenantId: string, workloadId: string): Promise<KeptHealth[]> {
    const rows = await tx.query<{ siteId: string; ageSeconds: number; measuredAt: Date; health: StandbyHealth }>(
      `SELECT site_id AS "siteId", extract(epoch FROM clock_timestamp() - received_at)::float8 AS "ageSeconds",
              measured_at AS "measuredAt", health
         FROM standby_health WHERE tenant_id = $1 AND workload_id = $2`,
      [tenantId, workloadId],
    );
    return rows.map((row) => ({ ...row, measuredAt: row.measuredAt.toISOString() }));
  }

  /**
   * Before what would stop a standby or change what its word is worth: production must not be waiting for the regional
   * one, nor begin to. Without a grant of this epoch it does not; with one, only a fresh measurement says so.
   *
   * @throws RegionalSynchronousError
   */
  async requireMetroLeads(tx: Transaction, { tenantId, workloadId, epoch }: ProtectionRow): Promise<void> {
    const [given] = await tx.query<{ granted: boolean | null; open: boolean | null }>(GRANTS, [
      tenantId,
      workloadId,
      epoch,
    ]);
    if (!given?.granted) return;
    if (given.open || regionalMayLead(await this.kept(tx, tenantId, workloadId))) throw new RegionalSynchronousError();
  }

  /**
   * Whether a removal waits for nothing but sites that have measured nothing of the workload for a quarter of an hour:
   * such a site may be gone for good, which a person says by asking for the removal once more.
   */
  async waitsForSilentOnly(tx: Transaction, protection: ProtectionRow): Promise<boolean> {
    const { tenantId, workloadId, removingAt, createdAt } = protection;
    const kept = await this.kept(tx, tenantId, workloadId);
    const [clock] = await tx.query<{ now: Date }>('SELECT clock_timestamp() AS now');
    const neverHeard = ((clock?.now ?? createdAt).getTime() - createdAt.getTime()) / 1_000;
    return removingAt.every((site) => {
      const measured = kept.find(({ siteId }) => siteId === site);
      return (measured?.ageSeconds ?? neverHeard) >= GONE_SECONDS;
    });
  }

  /** @returns whether it moved: false when it is in no state from which `to` can be reached. */
  async move(tx: Transaction, tenantId: string, id: string, to: ProtectionState): Promise<boolean> {
    const changed = await tx.execute(
      `UPDATE protection SET state = $3, version = version + 1,
              removed_at = CASE WHEN $3 = 'removed' THEN now() ELSE removed_at END
        WHERE tenant_id = $1 AND id = $2 AND state = ANY($4)`,
      [tenantId, id, to, protectionStatesBefore(to)],
    );
    return changed > 0;
  }
}

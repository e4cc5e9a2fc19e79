import { Injectable } from '@nestjs/common';
import type { SiteRole } from '#contracts/sites';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { Workloads } from '#libs/protection/control';
import { Sites } from '#libs/sites/control';
import { CLOSED_DOORS } from '../closed-doors.js';
import {
  type Condition,
  conditionOf,
  judgeLeg,
  type KeptHealth,
  type LegView,
  SILENT_SECONDS,
  synchronousSiteOf,
} from './health.js';
import { legsOf } from '../protections/protection-orders.js';
import { type ProtectionRow, ProtectionStore } from '../protections/protection-store.js';

export interface ProtectionView extends Omit<ProtectionRow, 'tenantId' | 'names' | 'removingAt' | 'workloadName'> {
  /** How it does now, as measured. */
  readonly condition: Condition;
  /** Whose acknowledgement production waits for; null when neither's, or when that is not known now. */
  readonly synchronousSite: SiteRole | null;
  readonly metro: LegView | null;
  readonly regional: LegView | null;
  /** Set while `checking` or `blocked`: the preflight to look at. */
  readonly preflightId: string | null;
}

export interface ProtectionEvent {
  readonly id: string;
  readonly siteId: string;
  readonly kind: string;
  readonly payload: Record<string, unknown>;
  readonly at: Date;
}

const NO_CLIENTS = `${CLOSED_DOORS.what} ${CLOSED_DOORS.remedy}`;

/** Says how protections do, by what sites measured last. */
@Injectable()
export class ProtectionHealth {
  constructor(
    private readonly store: ProtectionStore,
    private readonly sites: Sites,
    private readonly workloads: Workloads,
  ) {}

  /** @throws NotFoundError, NotProtectedError */
  async view(tx: TenantTransaction, workloadId: string): Promise<ProtectionView> {
    await this.workloads.get(tx, workloadId);
    return this.viewOf(tx, await this.store.get(tx, tx.tenantId, workloadId));
  }

  /** Undefined when the workload is not protected. */
  async find(tx: TenantTransaction, workloadId: string): Promise<ProtectionView | undefined> {
    const row = await this.store.find(tx, tx.tenantId, workloadId);
    return row && this.viewOf(tx, row);
  }

  private async viewOf(tx: TenantTransaction, row: ProtectionRow): Promise<ProtectionView> {
    const legs = await this.legs(tx, row);
    const rebooting = row.rebootUntil !== null && row.rebootUntil.getTime() > Date.now();
    const { id, workloadId, agentId, epoch, activeSiteId, state, mode, metroSiteId, regionalSiteId } = row;
    const { bandwidthBytesPerSecond, paused, rebootUntil, clientNetworks, createdAt } = row;
    const warnings = clientNetworks.length > 0 ? row.warnings : [...row.warnings, NO_CLIENTS];
    return {
      ...{ id, workloadId, agentId, epoch, activeSiteId, state, mode, metroSiteId, regionalSiteId },
      ...{ bandwidthBytesPerSecond, paused, rebootUntil, clientNetworks, warnings, createdAt },
      condition: conditionOf({ state: row.state, paused: row.paused, rebooting }, legs),
      synchronousSite: synchronousSiteOf(await this.kept(tx, row.tenantId, row.workloadId), SILENT_SECONDS),
      metro: legs.find(({ role }) => role === 'metro') ?? null,
      regional: legs.find(({ role }) => role === 'regional') ?? null,
      preflightId: await this.openPreflight(tx, row),
    };
  }

  /** Both legs as they are now. */
  async legs(tx: Transaction, row: ProtectionRow): Promise<LegView[]> {
    const kept = await this.kept(tx, row.tenantId, row.workloadId);
    const legs = legsOf(row);
    const sites = await this.sites.facts(
      tx,
      legs.map(({ siteId }) => siteId),
    );
    const expectSilence = row.paused || (row.rebootUntil !== null && row.rebootUntil.getTime() > Date.now());
    return legs.map(({ role, siteId }) =>
      judgeLeg(
        { id: siteId, name: sites.get(siteId)?.name ?? siteId, role },
        kept.find((one) => one.siteId === siteId),
        expectSilence,
      ),
    );
  }

  /** The newest measurements of a workload, with their ages. */
  async kept(tx: Transaction, tenantId: string, workloadId: string): Promise<KeptHealth[]> {
    return this.store.kept(tx, tenantId, workloadId);
  }

  /** What happened to a workload's protection, the newest first, a hundred at most. */
  async events(tx: TenantTransaction, workloadId: string): Promise<ProtectionEvent[]> {
    await this.workloads.get(tx, workloadId);
    return tx.query<ProtectionEvent>(
      `SELECT id, site_id AS "siteId", kind, payload, at FROM protection_event
        WHERE tenant_id = $1 AND workload_id = $2 ORDER BY at DESC, id LIMIT 100`,
      [tx.tenantId, workloadId],
    );
  }

  private async openPreflight(tx: TenantTransaction, row: ProtectionRow): Promise<string | null> {
    if (row.state !== 'checking' && row.state !== 'blocked') return null;
    const [newest] = await tx.query<{ id: string }>(
      `SELECT id FROM preflight WHERE tenant_id = $1 AND workload_id = $2 ORDER BY requested_at DESC LIMIT 1`,
      [tx.tenantId, row.workloadId],
    );
    return newest?.id ?? null;
  }
}

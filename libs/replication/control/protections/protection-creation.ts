import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { ProtectionMode } from '#contracts/replication';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';
import { Workloads, type WorkloadView } from '#libs/protection/control';
import { Agents, Sites } from '#libs/sites/control';
import { Preflights } from '../preflight/preflight.service.js';
import { ProtectionOrders } from './protection-orders.js';
import { protectionRecord } from './protection-record.js';
import { type ProtectionRow, ProtectionStore } from './protection-store.js';
import { newReplicationNames } from '../replication-names.js';
import {
  AlreadyProtectedError,
  KindNotReplicatedError,
  PreflightBlockedError,
  ProtectionNotReadyError,
} from '../replication.errors.js';
import { chooseSites, type SitePair } from '../site-choice.js';

export interface ProtectionInput {
  readonly mode: ProtectionMode;
  /** Left out: Mainstay chooses; null: none. */
  readonly metroSiteId?: string | null | undefined;
  readonly regionalSiteId?: string | null | undefined;
  /** Bounds seeding; null for as fast as the line goes. */
  readonly bandwidthBytesPerSecond?: number | null | undefined;
  /** From where clients may come to the front doors, in CIDR notation. Left out: from nowhere. */
  readonly clientNetworks?: readonly string[] | undefined;
}

/** Begins to protect a workload: preflight, a pair of sites, and the orders to them. */
@Injectable()
export class ProtectionCreation {
  constructor(
    private readonly store: ProtectionStore,
    private readonly protectionOrders: ProtectionOrders,
    private readonly preflights: Preflights,
    private readonly workloads: Workloads,
    private readonly agents: Agents,
    private readonly sites: Sites,
    private readonly audit: Audit,
  ) {}

  /**
   * Protects a workload. With a passed preflight of the last quarter of an hour the sites are ordered at once; without
   * one a preflight runs first (state `checking`), and its answer orders them or says what is in the way (`blocked`).
   *
   * @throws NotFoundError, KindNotReplicatedError, AlreadyProtectedError, PreflightBlockedError, NoMetroSiteError,
   *   SiteNotEligibleError, SamePairError, ProtectionNotReadyError
   */
  async create(
    tx: TenantTransaction,
    workloadId: string,
    input: ProtectionInput,
    actor: Actor,
  ): Promise<ProtectionRow> {
    const workload = await this.workloads.lock(tx, workloadId);
    if (workload.kind !== 'postgresql') throw new KindNotReplicatedError(workload.kind);
    await this.agents.requireActive(tx, workload.agentId);
    await this.makeRoom(tx, workload);
    const fresh = await this.preflights.fresh(tx, workloadId);
    if (fresh?.state === 'blocked') throw new PreflightBlockedError(fresh.id, fresh.report?.findings ?? []);
    const pair = await this.choose(tx, workload, input);
    const id = randomUUID();
    await tx.execute(
      `INSERT INTO protection (tenant_id, id, workload_id, agent_id, state, mode, metro_site_id, regional_site_id, names,
                               bandwidth_bytes_per_second, warnings, client_networks)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
      [
        tx.tenantId,
        id,
        workloadId,
        workload.agentId,
        fresh ? 'protecting' : 'checking',
        input.mode,
        pair.metro?.id ?? null,
        pair.regional?.id ?? null,
        JSON.stringify(newReplicationNames()),
        input.bandwidthBytesPerSecond ?? null,
        JSON.stringify(pair.warnings),
        input.clientNetworks ?? [],
      ],
    );
    const protection = await this.store.get(tx, tx.tenantId, workloadId);
    if (fresh) await this.protectionOrders.protect(tx, protection);
    else await this.preflights.order(tx, workload);
    await this.audit.record(
      tx,
      protectionRecord(tx, actor, 'protection.created', workloadId, {
        mode: input.mode,
        metroSite: pair.metro?.name,
        regionalSite: pair.regional?.name,
        clientNetworks: input.clientNetworks ?? [],
      }),
    );
    return protection;
  }

  private async choose(tx: TenantTransaction, workload: WorkloadView, input: ProtectionInput): Promise<SitePair> {
    const place = workload.location ?? (await this.agents.location(tx, workload.agentId));
    return chooseSites(await this.sites.eligible(tx, place, workload.agentId), input);
  }

  /** A blocked attempt gives way to a new one; anything else is in the way. */
  private async makeRoom(tx: TenantTransaction, workload: WorkloadView): Promise<void> {
    const existing = await this.store.find(tx, tx.tenantId, workload.id);
    if (existing?.state === 'blocked') await this.store.move(tx, tx.tenantId, existing.id, 'removed');
    else if (existing) throw new AlreadyProtectedError(existing.state);
    if (workload.activeSiteId !== null) {
      throw new ProtectionNotReadyError(
        'failed-over',
        'Production of this workload runs at a warm site: bring it home first.',
      );
    }
  }
}

import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { ProtectionMode } from '#contracts/replication';
import { type Actor, Audit } from '#libs/audit/control';
import type { ProviderTransaction, TenantTransaction } from '#libs/platform/database';
import { Workloads, type WorkloadView } from '#libs/protection/control';
import { Agents, Sites } from '#libs/sites/control';
import { Preflights } from './preflight.service.js';
import { ProtectionOrders } from './protection-orders.js';
import { type ProtectionRow, ProtectionStore } from './protection-store.js';
import { mayAdmitClients, mayChange, type ProtectionState } from './protection.states.js';
import { newReplicationNames } from './replication-names.js';
import {
  AlreadyProtectedError,
  DeclarationInForceError,
  KindNotReplicatedError,
  PreflightBlockedError,
  ProtectionNotReadyError,
} from './replication.errors.js';
import { chooseSites, type SitePair } from './site-choice.js';

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

export interface ProtectionChange {
  readonly mode?: ProtectionMode | undefined;
  readonly bandwidthBytesPerSecond?: number | null | undefined;
  readonly paused?: boolean | undefined;
  /** A planned reboot of the agency's server: no alarms until then. Null ends it early. */
  readonly rebootUntil?: Date | null | undefined;
  readonly clientNetworks?: readonly string[] | undefined;
}

/** Protects workloads at sites: chooses, orders, changes and removes. */
@Injectable()
export class Protections {
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
    await this.record(tx, actor, 'protection.created', workloadId, {
      mode: input.mode,
      metroSite: pair.metro?.name,
      regionalSite: pair.regional?.name,
      clientNetworks: input.clientNetworks ?? [],
    });
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

  /** @throws NotFoundError, NotProtectedError, DeclarationInForceError, ProtectionNotReadyError, RegionalSynchronousError */
  async change(
    tx: TenantTransaction,
    workloadId: string,
    change: ProtectionChange,
    actor: Actor,
  ): Promise<ProtectionRow> {
    const { clientNetworks, ...others } = change;
    if (clientNetworks && Object.values(others).every((value) => value === undefined)) {
      return this.admitClients(tx, workloadId, clientNetworks, actor);
    }
    const current = await this.held(tx, workloadId);
    const next: ProtectionRow = {
      ...current,
      clientNetworks: clientNetworks ?? current.clientNetworks,
      mode: change.mode ?? current.mode,
      paused: change.paused ?? current.paused,
      bandwidthBytesPerSecond:
        change.bandwidthBytesPerSecond === undefined ? current.bandwidthBytesPerSecond : change.bandwidthBytesPerSecond,
      rebootUntil: change.rebootUntil === undefined ? current.rebootUntil : change.rebootUntil,
    };
    const stops = next.paused && !current.paused;
    if (stops || next.mode !== current.mode) await this.store.requireMetroLeads(tx, current);
    if (next.mode === 'strict' && next.metroSiteId === null) {
      throw new ProtectionNotReadyError(
        current.state,
        'Strict mode needs a metro site, and this protection has none. Remove it and protect the workload with one.',
      );
    }
    await tx.execute(
      `UPDATE protection SET mode = $3, paused = $4, bandwidth_bytes_per_second = $5, reboot_until = $6,
              client_networks = $7, version = version + 1
        WHERE tenant_id = $1 AND id = $2`,
      [
        tx.tenantId,
        current.id,
        next.mode,
        next.paused,
        next.bandwidthBytesPerSecond,
        next.rebootUntil,
        next.clientNetworks,
      ],
    );
    await this.protectionOrders.protect(tx, next, clientNetworks !== undefined);
    await this.record(tx, actor, 'protection.changed', workloadId, { ...change });
    return next;
  }

  /** The one thing that changes also during and after a failover, when clients must be let in. */
  private async admitClients(
    tx: TenantTransaction,
    workloadId: string,
    clientNetworks: readonly string[],
    actor: Actor,
  ): Promise<ProtectionRow> {
    await this.workloads.lock(tx, workloadId);
    const current = await this.store.get(tx, tx.tenantId, workloadId);
    if (!mayAdmitClients(current.state)) requireChangeable(current.state);
    const next = { ...current, clientNetworks };
    await tx.execute(
      `UPDATE protection SET client_networks = $3, version = version + 1 WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, current.id, clientNetworks],
    );
    await this.protectionOrders.admitClients(tx, next);
    await this.record(tx, actor, 'protection.changed', workloadId, { clientNetworks });
    return next;
  }

  /**
   * Removes a protection: state `removing` until both sites have said that nothing is left, there or at the agency. Asked
   * again, it ends without the sites that have long been silent: what they hold, and their slots, are left behind. Also
   * while the regional site leads: it records that before it lets go, and there may be no metro to return to.
   *
   * @throws NotFoundError, NotProtectedError, DeclarationInForceError, ProtectionNotReadyError
   */
  async remove(tx: TenantTransaction, workloadId: string, actor: Actor): Promise<ProtectionRow> {
    await this.workloads.lock(tx, workloadId);
    const current = await this.store.get(tx, tx.tenantId, workloadId);
    if (current.state === 'removing') {
      if (!(await this.store.waitsForSilentOnly(tx, current))) return current;
      await this.store.move(tx, tx.tenantId, current.id, 'removed');
      await this.record(tx, actor, 'protection.removed', workloadId, { leftBehindAt: current.removingAt });
      return { ...current, state: 'removed' };
    }
    if (current.state === 'checking' || current.state === 'blocked') {
      await this.store.move(tx, tx.tenantId, current.id, 'removed');
    } else {
      requireChangeable(current.state);
      const removingAt = await this.protectionOrders.unprotect(tx, current);
      await tx.execute(`UPDATE protection SET removing_at = $3 WHERE tenant_id = $1 AND id = $2`, [
        tx.tenantId,
        current.id,
        removingAt,
      ]);
      await this.store.move(tx, tx.tenantId, current.id, 'removing');
    }
    await this.record(tx, actor, 'protection.removed', workloadId, {});
    return { ...current, state: current.state === 'protecting' ? 'removing' : 'removed' };
  }

  /** The protection of a workload whose row is held, in a state in which it may be changed. */
  async held(tx: TenantTransaction, workloadId: string): Promise<ProtectionRow> {
    await this.workloads.lock(tx, workloadId);
    const current = await this.store.get(tx, tx.tenantId, workloadId);
    requireChangeable(current.state);
    return current;
  }

  /** @throws ProtectionNotReadyError when the workload is protected in any way */
  async requireNone(tx: TenantTransaction, workloadId: string): Promise<void> {
    const existing = await this.store.find(tx, tx.tenantId, workloadId);
    if (existing) {
      throw new ProtectionNotReadyError(existing.state, 'This workload is protected. Remove its protection first.');
    }
  }

  /** How many protections have a part at this site: it cannot be retired before. */
  async countAt(tx: ProviderTransaction, siteId: string): Promise<number> {
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

  private record(tx: TenantTransaction, actor: Actor, action: string, id: string, detail: Record<string, unknown>) {
    return this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action,
      subjectKind: 'workload',
      subjectId: id,
      detail,
    });
  }
}

function requireChangeable(state: ProtectionState): void {
  if (state === 'failing-over') throw new DeclarationInForceError();
  if (!mayChange(state)) {
    throw new ProtectionNotReadyError(state, NOT_CHANGEABLE[state] ?? 'This protection cannot be changed now.');
  }
}

const NOT_CHANGEABLE: Partial<Record<ProtectionState, string>> = {
  checking: 'The preflight of this protection is still running. Wait for its answer.',
  blocked: 'The preflight of this protection found obstacles. Remedy them and protect the workload again.',
  removing: 'This protection is being removed.',
  'failed-over': 'Production of this workload runs at a warm site since its failover. Bring it home first.',
};

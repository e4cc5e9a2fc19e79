import { Injectable } from '@nestjs/common';
import type { ProtectionMode } from '#contracts/replication';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';
import { Workloads } from '#libs/protection/control';
import { ProtectionOrders } from './protection-orders.js';
import { protectionRecord } from './protection-record.js';
import { type ProtectionRow, ProtectionStore } from './protection-store.js';
import { mayAdmitClients, mayChange, type ProtectionState } from '../protection.states.js';
import { DeclarationInForceError, ProtectionNotReadyError } from '../replication.errors.js';

export interface ProtectionChange {
  readonly mode?: ProtectionMode | undefined;
  readonly bandwidthBytesPerSecond?: number | null | undefined;
  readonly paused?: boolean | undefined;
  /** A planned reboot of the agency's server: no alarms until then. Null ends it early. */
  readonly rebootUntil?: Date | null | undefined;
  readonly clientNetworks?: readonly string[] | undefined;
}

/** Changes and removes what protects a workload. */
@Injectable()
export class Protections {
  constructor(
    private readonly store: ProtectionStore,
    private readonly protectionOrders: ProtectionOrders,
    private readonly workloads: Workloads,
    private readonly audit: Audit,
  ) {}

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
    await this.audit.record(tx, protectionRecord(tx, actor, 'protection.changed', workloadId, { ...change }));
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
    await this.audit.record(tx, protectionRecord(tx, actor, 'protection.changed', workloadId, { clientNetworks }));
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
      await this.audit.record(
        tx,
        protectionRecord(tx, actor, 'protection.removed', workloadId, { leftBehindAt: current.removingAt }),
      );
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
    await this.audit.record(tx, protectionRecord(tx, actor, 'protection.removed', workloadId, {}));
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

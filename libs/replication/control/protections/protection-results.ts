import {
  armingChanged,
  divergenceFound,
  oldPrimaryFenced,
  protectOrder,
  standbyChanged,
  unprotectedResult,
} from '#contracts/replication';
import { orderFailed, type ResultContract } from '#contracts/sites';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ProtectionEvents } from './protection-events.js';
import { ProtectionStore } from './protection-store.js';

type Payload<C> = C extends ResultContract<infer P> ? P : never;

@AppliesResult(standbyChanged)
export class StandbyChangedHandler implements ResultHandler<Payload<typeof standbyChanged>> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly events: ProtectionEvents,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Payload<typeof standbyChanged>>): Promise<void> {
    const { workloadId, state, role, reason } = result.payload;
    const protection = await this.store.ofSite(tx, result.tenantId, workloadId, result.siteId);
    if (!protection) return;
    await this.events.keep(tx, standbyChanged, protection, result);
    if (state !== 'broken') return;
    await this.events.tell(tx, protection, {
      kind: 'replication.standby-broken',
      severity: 'alarm',
      title: `${protection.workloadName}: the ${role} standby is broken`,
      text: `The ${role} site cannot keep its copy of ${protection.workloadName} current: ${reason ?? 'no reason given'}. Look at the protection's alarms; each says what to do.`,
    });
  }
}

@AppliesResult(armingChanged)
export class ArmingChangedHandler implements ResultHandler<Payload<typeof armingChanged>> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly events: ProtectionEvents,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Payload<typeof armingChanged>>): Promise<void> {
    const { workloadId, armed, sinceLsn, reason } = result.payload;
    const protection = await this.store.ofSite(tx, result.tenantId, workloadId, result.siteId);
    if (!protection) return;
    await this.events.keep(tx, armingChanged, protection, result);
    const name = protection.workloadName;
    const role = result.siteId === protection.metroSiteId ? 'metro' : 'regional';
    await this.events.tell(
      tx,
      protection,
      armed
        ? {
            kind: 'replication.armed',
            severity: 'information',
            title: `${name}: armed`,
            text: `Every write to ${name} is now acknowledged only once the ${role} site has it. A failover to it loses none of them.`,
          }
        : {
            kind: 'replication.disarmed',
            severity: 'warning',
            title: `${name}: not armed`,
            text: `Writes to ${name} are no longer held until the ${role} site has them (${reason})${sinceLsn === null ? '' : `, since ${sinceLsn}`}. A failover to it now may lose what was written since. Look at the protection for what to do.`,
          },
    );
  }
}

@AppliesResult(divergenceFound)
export class DivergenceHandler implements ResultHandler<Payload<typeof divergenceFound>> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly events: ProtectionEvents,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Payload<typeof divergenceFound>>): Promise<void> {
    const { workloadId, transactions, truncated, forkedAtLsn } = result.payload;
    const protection = await this.store.ofSite(tx, result.tenantId, workloadId, result.siteId);
    if (!protection) return;
    await this.events.keep(tx, divergenceFound, protection, result);
    if (transactions.length === 0) return;
    const count = `${transactions.length}${truncated ? ' or more' : ''}`;
    await this.events.tell(tx, protection, {
      kind: 'replication.divergence',
      severity: 'alarm',
      title: `${protection.workloadName}: ${count} transactions exist on the old server only`,
      text: `The old server of ${protection.workloadName} came back with ${count} transactions after ${forkedAtLsn} that the promoted server does not have. They are kept. The protection's events list them.`,
    });
  }
}

@AppliesResult(oldPrimaryFenced)
export class OldPrimaryFencedHandler implements ResultHandler<Payload<typeof oldPrimaryFenced>> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly events: ProtectionEvents,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Payload<typeof oldPrimaryFenced>>): Promise<void> {
    const protection = await this.store.ofSite(tx, result.tenantId, result.payload.workloadId, result.siteId);
    if (!protection) return;
    await this.events.keep(tx, oldPrimaryFenced, protection, result);
    await this.events.tell(tx, protection, {
      kind: 'replication.old-primary-fenced',
      severity: 'information',
      title: `${protection.workloadName}: the old server is fenced`,
      text: `The old server of ${protection.workloadName} came back and was stopped before it could acknowledge a write: ${result.payload.evidence}`,
    });
  }
}

@AppliesResult(unprotectedResult)
export class UnprotectedHandler implements ResultHandler<Payload<typeof unprotectedResult>> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly events: ProtectionEvents,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Payload<typeof unprotectedResult>>): Promise<void> {
    const { workloadId } = result.payload;
    const protection = await this.store.ofSite(tx, result.tenantId, workloadId, result.siteId);
    if (!protection) return;
    await this.events.keep(tx, unprotectedResult, protection, result);
    const [left] = await tx.query<{ count: number }>(
      `UPDATE protection SET removing_at = array_remove(removing_at, $3::uuid) WHERE tenant_id = $1 AND id = $2
       RETURNING cardinality(removing_at) AS count`,
      [protection.tenantId, protection.id, result.siteId],
    );
    await tx.execute(`DELETE FROM standby_health WHERE tenant_id = $1 AND workload_id = $2 AND site_id = $3`, [
      protection.tenantId,
      workloadId,
      result.siteId,
    ]);
    if (left?.count === 0) await this.store.move(tx, protection.tenantId, protection.id, 'removed');
  }
}

/** A site that will not protect a workload: the history keeps its reason, and people are told. */
@AppliesResult(orderFailed)
export class ProtectFailedHandler implements ResultHandler<Payload<typeof orderFailed>> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly events: ProtectionEvents,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Payload<typeof orderFailed>>): Promise<void> {
    if (result.payload.kind !== protectOrder.kind) return;
    const [order] = await tx.query<{ workloadId: string }>(
      `SELECT payload->>'workloadId' AS "workloadId" FROM outgoing_order WHERE id = $1 AND site_id = $2`,
      [result.orderId, result.siteId],
    );
    if (!order) return;
    const protection = await this.store.ofSite(tx, result.tenantId, order.workloadId, result.siteId);
    if (!protection) return;
    await this.events.keep(tx, orderFailed, protection, result);
    await this.events.tell(tx, protection, {
      kind: 'replication.refused',
      severity: 'alarm',
      title: `${protection.workloadName}: a site cannot protect it`,
      text: `${result.payload.message} (${result.payload.code})`,
    });
  }
}

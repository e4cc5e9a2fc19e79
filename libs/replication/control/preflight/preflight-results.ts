import { preflightOrder, type PreflightReport, preflightResult } from '#contracts/replication';
import { orderFailed } from '#contracts/sites';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ProtectionOrders } from '../protections/protection-orders.js';
import { ProtectionStore } from '../protections/protection-store.js';

interface Checked {
  readonly workloadId: string;
  readonly tenantId: string;
}

/** Moves a protection that waited for a preflight; `passed` orders its sites in the same transaction. */
async function goOn(
  tx: ProviderTransaction,
  store: ProtectionStore,
  orders: ProtectionOrders,
  { tenantId, workloadId }: Checked,
  passed: boolean,
): Promise<void> {
  await tx.query(`SELECT id FROM workload WHERE tenant_id = $1 AND id = $2 FOR UPDATE`, [tenantId, workloadId]);
  const protection = await store.find(tx, tenantId, workloadId);
  if (protection?.state !== 'checking') return;
  const moved = await store.move(tx, tenantId, protection.id, passed ? 'protecting' : 'blocked');
  if (moved && passed) await orders.protect(tx, { ...protection, state: 'protecting' } as typeof protection);
}

@AppliesResult(preflightResult)
export class PreflightHandler implements ResultHandler<{ preflightId: string; report: PreflightReport }> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly orders: ProtectionOrders,
  ) {}

  async apply(
    tx: ProviderTransaction,
    { siteId, payload }: AppliedResult<{ preflightId: string; report: PreflightReport }>,
  ): Promise<void> {
    const [row] = await tx.query<Checked>(
      `UPDATE preflight SET state = $3, report = $4, finished_at = now()
        WHERE id = $1 AND site_id = $2 AND state = 'running'
        RETURNING tenant_id AS "tenantId", workload_id AS "workloadId"`,
      [payload.preflightId, siteId, payload.report.ok ? 'passed' : 'blocked', JSON.stringify(payload.report)],
    );
    if (row) await goOn(tx, this.store, this.orders, row, payload.report.ok);
  }
}

type OrderFailure = ReturnType<typeof orderFailed.payload.parse>;

/** A preflight that could not be run at all, for example because the agent is not connected. */
@AppliesResult(orderFailed)
export class PreflightFailedHandler implements ResultHandler<OrderFailure> {
  constructor(
    private readonly store: ProtectionStore,
    private readonly orders: ProtectionOrders,
  ) {}

  async apply(tx: ProviderTransaction, { siteId, orderId, payload }: AppliedResult<OrderFailure>): Promise<void> {
    if (payload.kind !== preflightOrder.kind) return;
    const { code, message } = payload;
    const [row] = await tx.query<Checked>(
      `UPDATE preflight SET state = 'failed', failure = $3, finished_at = now()
        WHERE order_id = $1 AND site_id = $2 AND state = 'running'
        RETURNING tenant_id AS "tenantId", workload_id AS "workloadId"`,
      [orderId, siteId, JSON.stringify({ code, message })],
    );
    if (row) await goOn(tx, this.store, this.orders, row, false);
  }
}

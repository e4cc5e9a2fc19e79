import { Injectable } from '@nestjs/common';
import {
  type AcceptedLoss,
  cancelFailoverOrder,
  confirmFailoverOrder,
  type OldServerFate,
  type RunEvent,
  type RunState,
} from '#contracts/failover';
import type { Actor } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { ProtectionDuringFailover, SILENT_SECONDS } from '#libs/replication/control';
import { Orders } from '#libs/sites/control';
import { FailoverRecord } from './failover-record.js';
import { RunDeliveredError, RunFinishedError } from '../failover.errors.js';
import { isFinal } from '../failover.states.js';
import { NOT_PROMOTED, RunOrders } from './run-orders.js';
import { RUN_QUERY, type RunRow, type RunView, toRunSummary, toRunView } from './run.view.js';

export type { RunView, StepView } from './run.view.js';

export type RunCursor = readonly [number, string];

/** So often a step is tried before a person may give the run up over it. */
const STUCK_ATTEMPTS = 3;

const STAYS_ASIDE =
  'It may still promote, so the other site stays aside: it receives nothing and production is not armed there until the next declaration, which may be for that other site, or until this site tells that it did not promote.';

/** Failover runs as the control plane knows them: the site that carries one out is the truth. */
@Injectable()
export class Runs {
  constructor(
    private readonly orders: Orders,
    private readonly record: FailoverRecord,
    private readonly protections: ProtectionDuringFailover,
    private readonly runOrders: RunOrders,
  ) {}

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<RunView> {
    const [row] = await tx.query<RunRow>(`${RUN_QUERY} WHERE run.tenant_id = $1 AND run.id = $2`, [tx.tenantId, id]);
    if (!row) throw new NotFoundError('failover');
    return toRunView(row, await this.events(tx, id, 0));
  }

  /** The newest first, of one workload or of all; `limit + 1` at most. Without steps. */
  async list(
    tx: TenantTransaction,
    workloadId: string | null,
    after: RunCursor | undefined,
    limit: number,
  ): Promise<RunRow[]> {
    const rows = await tx.query<RunRow>(
      `${RUN_QUERY} WHERE run.tenant_id = $1 AND ($2::uuid IS NULL OR run.workload_id = $2)
          AND ($3::bigint IS NULL OR ((extract(epoch FROM run.created_at) * 1000000)::bigint, run.id) < ($3, $4::uuid))
        ORDER BY run.created_at DESC, run.id DESC LIMIT $5`,
      [tx.tenantId, workloadId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
    return rows.map(toRunSummary);
  }

  /** A run's events above `after`, in their order. */
  async events(tx: TenantTransaction, runId: string, after: number): Promise<RunEvent[]> {
    const rows = await tx.query<Omit<RunEvent, 'at' | 'workloadId'> & { at: Date; workloadId: string }>(
      `SELECT event.run_id AS "runId", run.workload_id AS "workloadId", event.number, event.at, event.state, event.step,
              event.step_state AS "stepState", event.attempt, event.message, event.evidence
         FROM run_event event JOIN failover_run run ON run.tenant_id = event.tenant_id AND run.id = event.run_id
        WHERE event.tenant_id = $1 AND event.run_id = $2 AND event.number > $3 ORDER BY event.number LIMIT 1000`,
      [tx.tenantId, runId, after],
    );
    return rows.map((row) => ({ ...row, at: row.at.toISOString() }));
  }

  /** @throws NotFoundError */
  async state(tx: TenantTransaction, id: string): Promise<RunState> {
    const [row] = await tx.query<{ state: RunState }>(
      `SELECT state FROM failover_run WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, id],
    );
    if (!row) throw new NotFoundError('failover');
    return row.state;
  }

  /**
   * Asks the site to cancel a run; whether it still can is the site's to say. `abandon` gives a run up that its site
   * never acknowledged, or cannot end because it is silent or fails again and again: so that another can be chosen.
   *
   * @throws NotFoundError, RunFinishedError, RunDeliveredError
   */
  async cancel(tx: TenantTransaction, id: string, abandon: boolean, actor: Actor): Promise<RunView> {
    const run = await this.open(tx, id);
    if (abandon) await this.abandon(tx, run);
    const payload = { runId: id };
    await this.orders.issue(tx, { siteId: run.siteId, tenantId: tx.tenantId, contract: cancelFailoverOrder, payload });
    await this.record.add(tx, id, { kind: 'cancel' }, actor);
    return this.get(tx, id);
  }

  /**
   * The order may have arrived and only its acknowledgement be lost: the cancel that follows it says so there, too. A run
   * that its site has is given up only when nobody can wait for it; its site may have promoted meanwhile, or do so still,
   * and the next declaration's epoch is higher. Therefore the other site stays aside then, until that declaration, which
   * may be at itself, or until the run's site has told that it did not promote.
   */
  private async abandon(tx: TenantTransaction, run: RunView): Promise<void> {
    const withdrawn = await tx.execute(
      `UPDATE outgoing_order SET state = 'failed', last_error = 'given up before it was delivered', finished_at = now()
        WHERE tenant_id = $1 AND id = $2 AND state = 'pending'`,
      [tx.tenantId, run.orderId],
    );
    const stuck = withdrawn > 0 ? undefined : await this.stuck(tx, run);
    if (withdrawn === 0 && stuck === undefined) throw new RunDeliveredError();
    const why = stuck ? `${stuck} ${STAYS_ASIDE}` : 'Given up: the site never acknowledged the order.';
    await tx.execute(
      `UPDATE failover_run SET state = 'cancelled', state_reason = $3, finished_at = now()
        WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, run.id, why],
    );
    await this.protections.abandoned(tx, tx.tenantId, run.workloadId);
    if (!stuck) await this.runOrders.ended(tx, { id: run.id, tenantId: tx.tenantId }, NOT_PROMOTED);
  }

  /** Why a delivered run cannot be waited for: its site is silent, or fails at one step again and again. */
  private async stuck(tx: TenantTransaction, run: RunView): Promise<string | undefined> {
    const [row] = await tx.query<{ silent: boolean; tries: number }>(
      `SELECT coalesce((SELECT received_at < now() - make_interval(secs => $4) FROM standby_health
                         WHERE tenant_id = $1 AND workload_id = $2 AND site_id = $3), true) AS silent,
              coalesce((SELECT CASE WHEN step_state IN ('retrying', 'failed') THEN attempt ELSE 0 END FROM run_event
                         WHERE tenant_id = $1 AND run_id = $5 AND step_state IS NOT NULL AND step_state <> 'started'
                         ORDER BY number DESC LIMIT 1), 0) AS tries`,
      [tx.tenantId, run.workloadId, run.siteId, SILENT_SECONDS, run.id],
    );
    if (row?.silent) return 'Given up: the site has the order and is silent.';
    if (row && row.tries >= STUCK_ATTEMPTS) return `Given up: a step has failed at the site ${row.tries} times.`;
    return undefined;
  }

  /** Adds what a run that awaits confirmation asks for. @throws NotFoundError, RunFinishedError */
  async confirm(
    tx: TenantTransaction,
    id: string,
    said: { readonly acceptLoss: AcceptedLoss; readonly oldServer: OldServerFate },
    actor: Actor,
  ): Promise<RunView> {
    const run = await this.open(tx, id);
    await this.orders.issue(tx, {
      siteId: run.siteId,
      tenantId: tx.tenantId,
      contract: confirmFailoverOrder,
      payload: { runId: id, acceptedLoss: said.acceptLoss, oldServer: said.oldServer },
    });
    await this.record.add(tx, id, { kind: 'confirm', ...said }, actor);
    return this.get(tx, id);
  }

  private async open(tx: TenantTransaction, id: string): Promise<RunView> {
    const run = await this.get(tx, id);
    await this.protections.hold(tx, run.workloadId);
    const state = await this.state(tx, id);
    if (isFinal(state)) throw new RunFinishedError(state);
    return run;
  }
}

import { Injectable } from '@nestjs/common';
import { ZodError } from 'zod';
import { orderFailed, type SiteResult, type SiteSnapshot, storable, storableText } from '#contracts/sites';
import { type ProviderTransaction, UnitOfWork } from '#libs/platform/database';
import { DomainError, errorCode, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { continueTrace, isTracing, withLogContext } from '#libs/platform/telemetry';
import { orderStatesBefore } from '../orders/order.states.js';
import { ResultHandlers, SnapshotStores, UnknownResultError } from './applies-result.js';

/** PostgreSQL or the way to it is out of reach, or a deadlock was broken: trying again helps. */
const PASSING = /^(40001|40P01|53\d{3}|57P0[123]|08\w{3}|55P03|E[A-Z]+)$/;
const TRIES = 5;

/** Applies what sites tell, each result exactly once, in their order. */
@Injectable()
export class ResultApplying {
  private readonly failures = new Map<string, number>();

  constructor(
    private readonly work: UnitOfWork,
    private readonly handlers: ResultHandlers,
    private readonly snapshots: SnapshotStores,
    private readonly logger: AppLogger,
  ) {}

  /**
   * Applies one result and moves the site's cursor past it, in one transaction.
   *
   * A result that can never be applied is set aside with its reason (table `unapplied_result`) and logged, so that one
   * bad result does not stop all that the site says after it.
   *
   * @throws what the handler threw, when trying again may help.
   */
  async apply(siteId: string, result: SiteResult): Promise<void> {
    try {
      await this.work.provider(async (tx) => {
        if (!(await this.next(tx, siteId, result.seq))) return;
        await this.finishOrder(tx, siteId, result);
        await this.observed(tx, result, () => this.handlers.apply(tx, { ...result, siteId, at: new Date(result.at) }));
      });
      this.failures.delete(siteId);
    } catch (error) {
      if (!this.hopeless(siteId, error)) throw error;
      await this.setAside(siteId, result, error);
    }
  }

  /** With the ids of what the result tells of, in the trace of the order that it follows from. */
  private async observed(tx: ProviderTransaction, result: SiteResult, work: () => Promise<void>): Promise<void> {
    const { kind, orderId, tenantId, payload } = result;
    const [runId, workloadId] = [named(payload, 'runId'), named(payload, 'workloadId')];
    const [origin] =
      orderId !== null && isTracing()
        ? await tx.query<{ traceparent: string | null }>(`SELECT traceparent FROM outgoing_order WHERE id = $1`, [
            orderId,
          ])
        : [];
    const attributes = {
      'mainstay.order_id': orderId ?? undefined,
      'mainstay.tenant_id': tenantId ?? undefined,
      'mainstay.run_id': runId,
      'mainstay.workload_id': workloadId,
      'mainstay.step': named(payload, 'step'),
    };
    const ids = {
      ...(orderId === null ? {} : { orderId }),
      ...(tenantId === null ? {} : { tenantId }),
      ...(runId === undefined ? {} : { runId }),
      ...(workloadId === undefined ? {} : { workloadId }),
    };
    await withLogContext(ids, () =>
      continueTrace(origin?.traceparent, `result ${kind}`, { kind: 'consumer', attributes }, work),
    );
  }

  /** Takes the cursor's row lock: two processes that read the same page apply it once. */
  private async next(tx: ProviderTransaction, siteId: string, seq: number): Promise<boolean> {
    const moved = await tx.execute(`UPDATE site_state SET result_seq = $2 WHERE site_id = $1 AND result_seq < $2`, [
      siteId,
      seq,
    ]);
    return moved > 0;
  }

  private async finishOrder(tx: ProviderTransaction, siteId: string, result: SiteResult): Promise<void> {
    if (result.orderId === null) return;
    const failed = result.kind === orderFailed.kind;
    const to = failed ? 'failed' : 'done';
    await tx.execute(
      `UPDATE outgoing_order SET state = $3, finished_at = now(), last_error = $5
        WHERE id = $1 AND site_id = $2 AND state = ANY($4)`,
      [
        result.orderId,
        siteId,
        to,
        orderStatesBefore(to),
        failed ? String(result.payload['message'] ?? '').slice(0, 500) : null,
      ],
    );
  }

  private hopeless(siteId: string, error: unknown): boolean {
    if (error instanceof ZodError || error instanceof UnknownResultError) return true;
    if (error instanceof DomainError && error.kind === 'unprocessable') return true;
    if (PASSING.test(errorCode(error) ?? '')) return false;
    const count = (this.failures.get(siteId) ?? 0) + 1;
    this.failures.set(siteId, count);
    return count >= TRIES;
  }

  private async setAside(siteId: string, result: SiteResult, error: unknown): Promise<void> {
    this.logger.log.error({ err: error, siteId, seq: result.seq, kind: result.kind }, 'a result cannot be applied');
    const payload = JSON.stringify(storable(result.payload));
    try {
      await this.keepAside(siteId, result, payload, error);
    } catch (second) {
      if (PASSING.test(errorCode(second) ?? '')) throw second;
      // Whatever it is that cannot be stored must not keep the site from telling what comes after it.
      this.logger.log.error({ err: second, siteId, seq: result.seq }, 'a result cannot be kept as it is');
      await this.keepAside(siteId, result, '{}', error);
    }
    this.failures.delete(siteId);
  }

  private async keepAside(siteId: string, result: SiteResult, payload: string, error: unknown): Promise<void> {
    await this.work.provider(async (tx) => {
      if (!(await this.next(tx, siteId, result.seq))) return;
      await tx.execute(
        `INSERT INTO unapplied_result (site_id, seq, kind, tenant_id, payload, reason) VALUES ($1, $2, $3, $4, $5, $6)`,
        [siteId, result.seq, result.kind, result.tenantId, payload, storableText(errorText(error), 2_000)],
      );
    });
  }

  /** Keeps a snapshot, unless a newer one has been kept. */
  async keep(siteId: string, snapshot: SiteSnapshot): Promise<void> {
    await this.work.provider(async (tx) => {
      const newest = await tx.execute(
        `UPDATE site_state SET received_at = now(), snapshot_at = $2, capacity = $3, last_error = NULL
          WHERE site_id = $1 AND (snapshot_at IS NULL OR snapshot_at <= $2 OR received_at < now() - interval '5 seconds')`,
        [siteId, snapshot.at, JSON.stringify(snapshot.capacity)],
      );
      if (newest > 0) await this.snapshots.store(tx, snapshot);
    });
  }
}

/** What a result names, in itself or in the report that it brings. */
function named(payload: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const report = payload['report'];
  const found = payload[name] ?? (typeof report === 'object' ? (report as typeof payload | null)?.[name] : undefined);
  return typeof found === 'string' ? found : undefined;
}

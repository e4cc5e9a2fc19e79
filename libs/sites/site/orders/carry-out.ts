import { Injectable } from '@nestjs/common';
import { orderFailed } from '#contracts/sites';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, type ErrorKind, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { Handles, type JobHandler } from '#libs/platform/queue';
import { continueTrace, withLogContext } from '#libs/platform/telemetry';
import { SiteOutbox } from '../outbox/site-outbox.js';
import { CLAIM_SECONDS, type ClaimedOrder, OrderClaims, pauseAfter } from './order-claims.js';
import { OrderHandlers } from './order-handlers.js';
import { OrderWaking } from './order-waking.js';
import { OrderGivenUpError } from './order.errors.js';
import { carryOutOrderJob, carryOutUrgentOrderJob, sweepOrdersJob } from './orders.jobs.js';

/** Faults that another try cannot mend. */
const FINAL: ReadonlySet<ErrorKind> = new Set<ErrorKind>(['invalid', 'unprocessable', 'conflict', 'not-found']);

/** Carries out one order, if it is its turn, and wakes the next of its key. */
@Injectable()
export class OrderWork {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly claims: OrderClaims,
    private readonly handlers: OrderHandlers,
    private readonly outbox: SiteOutbox,
    private readonly waking: OrderWaking,
    private readonly logger: AppLogger,
  ) {}

  async take(orderId: string, signal: AbortSignal): Promise<void> {
    const order = await this.claims.claim(orderId);
    if (!order) return;
    const attributes = {
      'mainstay.order_id': orderId,
      'mainstay.tenant_id': order.tenant_id ?? undefined,
      'mainstay.attempt': order.attempts,
    };
    await withLogContext({ orderId, ...(order.tenant_id === null ? {} : { tenantId: order.tenant_id }) }, () =>
      continueTrace(order.traceparent, `carry out order ${order.kind}`, { kind: 'consumer', attributes }, () =>
        this.carryOut(order, signal),
      ),
    );
    for (const next of await this.claims.next(order)) this.waking.wake(next.id, next.kind);
  }

  private async carryOut(order: ClaimedOrder, signal: AbortSignal): Promise<void> {
    const lost = new AbortController();
    const renewal = setInterval(() => void this.renew(order.id, lost), (CLAIM_SECONDS * 1_000) / 3);
    try {
      const registered = this.handlers.get(order.kind);
      if (!registered) throw new Error(`no handler for order ${order.kind}`);
      if (this.isOver(order, 0)) throw new OrderGivenUpError();
      const payload = registered.contract.payload.parse(order.payload);
      await registered.handler.carryOut(
        { id: order.id, number: Number(order.number), tenantId: order.tenant_id, payload },
        AbortSignal.any([signal, lost.signal]),
      );
      await this.finish(order, 'done', null);
      this.logger.log.info({ kind: order.kind, attempts: order.attempts }, 'order carried out');
    } catch (error) {
      await this.failed(order, error);
    } finally {
      clearInterval(renewal);
    }
  }

  private async renew(orderId: string, lost: AbortController): Promise<void> {
    try {
      if (!(await this.claims.renew(orderId))) lost.abort(new Error('the claim on this order was lost'));
    } catch (error) {
      this.logger.log.warn({ err: error, orderId }, 'the claim on an order could not be renewed');
    }
  }

  private async failed(order: ClaimedOrder, error: unknown): Promise<void> {
    if (error instanceof DomainError && FINAL.has(error.kind)) {
      this.logger.log.warn({ err: error, kind: order.kind }, 'order failed for good');
      await this.finish(order, 'failed', error);
      return;
    }
    if (this.isOver(order, pauseAfter(order.attempts))) {
      this.logger.log.warn({ err: error, kind: order.kind, attempts: order.attempts }, 'order given up');
      await this.finish(order, 'failed', error instanceof DomainError ? error : new OrderGivenUpError());
      return;
    }
    const pause = await this.claims.postpone(order, errorText(error));
    this.logger.log.warn({ err: error, kind: order.kind, pauseSeconds: pause }, 'order failed; trying again');
    this.waking.wake(order.id, order.kind, { delayMs: pause * 1_000 + 50 });
  }

  /** Whether its time is up, or will be in so many seconds. */
  private isOver({ kind, age }: ClaimedOrder, seconds: number): boolean {
    const endsAfter = this.handlers.get(kind)?.contract.endsAfterSeconds;
    return endsAfter !== undefined && age + seconds >= endsAfter;
  }

  private async finish(order: ClaimedOrder, state: 'done' | 'failed', error: DomainError | null): Promise<void> {
    await this.work.run(async (tx) => {
      const finished = await tx.execute(
        `UPDATE site_order SET state = $2, last_error = $3, finished_at = clock_timestamp(), claimed_until = NULL
          WHERE id = $1 AND state = 'received'`,
        [order.id, state, error === null ? null : errorText(error)],
      );
      if (finished === 0 || error === null) return;
      await this.outbox.emit(
        tx,
        orderFailed,
        { tenantId: order.tenant_id, orderId: order.id },
        { kind: order.kind, code: error.code, message: error.message },
      );
    });
  }
}

@Handles(carryOutOrderJob)
export class CarryOutOrderHandler implements JobHandler<{ orderId: string }> {
  constructor(private readonly orders: OrderWork) {}

  handle({ orderId }: { orderId: string }, signal: AbortSignal): Promise<void> {
    return this.orders.take(orderId, signal);
  }
}

@Handles(carryOutUrgentOrderJob)
export class CarryOutUrgentOrderHandler implements JobHandler<{ orderId: string }> {
  constructor(private readonly orders: OrderWork) {}

  handle({ orderId }: { orderId: string }, signal: AbortSignal): Promise<void> {
    return this.orders.take(orderId, signal);
  }
}

/** Wakes what is due. */
@Handles(sweepOrdersJob)
export class SweepOrdersHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly claims: OrderClaims,
    private readonly waking: OrderWaking,
  ) {}

  async handle(): Promise<void> {
    for (const { id, kind } of await this.claims.due(200)) await this.waking.add(id, kind);
  }
}

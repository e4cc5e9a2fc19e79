import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { Order, OrderContract } from '#contracts/sites';
import { Clock } from '#libs/platform/clock';
import type { Transaction } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { currentTraceparent } from '#libs/platform/telemetry';
import { deliverOrdersJob } from '../sites.jobs.js';
import { OrderDelivery } from './order-delivery.js';
import { OrderSigner } from './order-signing.js';

export interface OrderRequest<P> {
  readonly siteId: string;
  /** Null for an order of the provider's own. */
  readonly tenantId: string | null;
  readonly contract: OrderContract<P>;
  readonly payload: P;
}

/** By then this process has delivered the order itself, or will not. */
const WORKER_AFTER_MS = 250;

/** Gives sites orders, in the transaction of the change that they follow from. */
@Injectable()
export class Orders {
  constructor(
    private readonly signer: OrderSigner,
    private readonly delivery: OrderDelivery,
    private readonly queue: JobQueue,
    private readonly clock: Clock,
  ) {}

  /**
   * Writes a signed order. Once the transaction is committed this process delivers it at once, since a declaration's
   * order is awaited by people without their database; the worker, woken a moment later, sees to what is left.
   *
   * Numbers come from one sequence, not from a counter of each site: a counter's row would make every agency wait for
   * whichever transaction holds it. Whoever gives orders about one workload holds that workload's row, so that their
   * numbers rise in the order of the commits.
   *
   * @throws ZodError when the payload does not fit the contract.
   */
  async issue<P>(tx: Transaction, request: OrderRequest<P>): Promise<{ id: string; number: number }> {
    const [row] = await tx.query<{ number: string }>(`SELECT nextval('outgoing_order_number') AS number`);
    const order = this.signer.sign({
      id: randomUUID(),
      siteId: request.siteId,
      number: Number(row?.number),
      kind: request.contract.kind,
      tenantId: request.tenantId,
      issuedAt: this.clock.now().toISOString(),
      payload: request.contract.payload.parse(request.payload) as Order['payload'],
    });
    await tx.execute(
      `INSERT INTO outgoing_order (id, site_id, number, kind, tenant_id, payload, issued_at, signature, traceparent)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        order.id,
        order.siteId,
        order.number,
        order.kind,
        order.tenantId,
        JSON.stringify(order.payload),
        order.issuedAt,
        order.signature,
        currentTraceparent(),
      ],
    );
    tx.afterCommit(() => this.committed(request.siteId));
    return { id: order.id, number: order.number };
  }

  private committed(siteId: string): void {
    this.delivery.attempt(siteId);
    // Without a key: a wake-up must not be dropped because a delivery that looked before it is still running.
    this.queue.wake(deliverOrdersJob, { siteId }, { delayMs: WORKER_AFTER_MS });
  }
}

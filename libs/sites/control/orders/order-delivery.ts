import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import type { Order } from '#contracts/sites';
import { orderFailed } from '#contracts/sites';
import { type ProviderTransaction, UnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { continueTrace } from '#libs/platform/telemetry';
import { type SiteAddress, SiteEndpoints } from '../connections/site-endpoint.js';
import { ResultHandlers } from '../results/applies-result.js';
import { deliverOrdersJob, sweepOrdersJob } from '../sites.jobs.js';

interface OrderRow {
  readonly id: string;
  readonly number: string;
  readonly kind: string;
  readonly tenantId: string | null;
  readonly payload: Order['payload'];
  readonly issuedAt: Date;
  readonly signature: string;
  readonly traceparent: string | null;
}

const DELIVERY_TIMEOUT_MS = 10_000;
const BATCH = 50;
/** The site read the order and will never take it, as when its signature does not hold: asking again would not help. */
const REFUSED = new Set([400, 403, 404, 409, 413, 422]);

/**
 * Delivers a site's pending orders, oldest first, and stops at the first that does not get through.
 *
 * Two processes may deliver to one site at once: each goes in the order of the numbers and passes an order only once
 * the site has it, and the site takes an order once, by its id.
 */
@Injectable()
export class OrderDelivery implements BeforeApplicationShutdown {
  private readonly running = new Map<string, { again: boolean; done: Promise<void> }>();
  private readonly stopping = new AbortController();

  constructor(
    private readonly work: UnitOfWork,
    private readonly endpoints: SiteEndpoints,
    private readonly results: ResultHandlers,
    private readonly logger: AppLogger,
  ) {}

  /** @throws SiteUnreachableError when the site does not take them now: the caller tries again later. */
  async deliver(siteId: string, signal: AbortSignal): Promise<void> {
    const current = this.running.get(siteId);
    if (current) {
      // What was committed after its last look is found by one more.
      current.again = true;
      return;
    }
    const mine = { again: false, done: Promise.resolve() };
    mine.done = this.deliverAll(siteId, mine, AbortSignal.any([signal, this.stopping.signal]));
    this.running.set(siteId, mine);
    try {
      await mine.done;
    } finally {
      this.running.delete(siteId);
    }
  }

  private async deliverAll(siteId: string, mine: { again: boolean }, signal: AbortSignal): Promise<void> {
    do {
      mine.again = false;
      while ((await this.deliverBatch(siteId, signal)) === BATCH) signal.throwIfAborted();
    } while (mine.again);
  }

  /** Like {@link deliver} without waiting, for right after a commit: what fails is the worker's to try again. */
  attempt(siteId: string): void {
    this.deliver(siteId, this.stopping.signal).catch((error: unknown) => {
      this.logger.log.debug({ siteId, reason: errorText(error) }, 'a delivery is left to the worker');
    });
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort(new Error('this process is stopping'));
    await Promise.allSettled([...this.running.values()].map(({ done }) => done));
  }

  private async deliverBatch(siteId: string, signal: AbortSignal): Promise<number> {
    const { address, orders } = await this.work.provider(async (tx) => ({
      address: await siteAddress(tx, siteId),
      orders: await tx.query<OrderRow>(
        `SELECT id, number, kind, tenant_id AS "tenantId", payload, issued_at AS "issuedAt", signature,
                traceparent
           FROM outgoing_order WHERE site_id = $1 AND state = 'pending' ORDER BY number LIMIT ${BATCH}`,
        [siteId],
      ),
    }));
    if (!address) return 0;
    for (const row of orders) {
      const attributes = {
        'mainstay.order_id': row.id,
        'mainstay.site_id': siteId,
        'mainstay.tenant_id': row.tenantId ?? undefined,
      };
      await continueTrace(row.traceparent, `deliver order ${row.kind}`, { kind: 'client', attributes }, () =>
        this.deliverOne(address, row, signal),
      );
    }
    return orders.length;
  }

  private async deliverOne(address: SiteAddress, row: OrderRow, signal: AbortSignal): Promise<void> {
    // The trace goes beside the order, in a header: what is signed is what the order says.
    const { id, kind, tenantId, payload, signature } = row;
    const [number, issuedAt] = [Number(row.number), row.issuedAt.toISOString()];
    const body: Order = { id, siteId: address.siteId, number, kind, tenantId, issuedAt, payload, signature };
    let failure: unknown;
    try {
      const answer = await this.endpoints.call(address, {
        method: 'POST',
        path: '/v1/orders',
        body,
        timeoutMs: DELIVERY_TIMEOUT_MS,
        signal,
      });
      if (answer.status >= 200 && answer.status < 300) return await this.delivered(row.id);
      if (REFUSED.has(answer.status)) return await this.refused(address.siteId, row, answer);
      failure = new Error(`the site answered ${answer.status}`);
    } catch (error) {
      failure = error;
    }
    await this.work.provider((tx) =>
      tx.execute(`UPDATE outgoing_order SET attempts = attempts + 1, last_error = $2 WHERE id = $1`, [
        row.id,
        errorText(failure).slice(0, 500),
      ]),
    );
    throw failure;
  }

  private async delivered(orderId: string): Promise<void> {
    await this.work.provider((tx) =>
      tx.execute(
        `UPDATE outgoing_order SET attempts = attempts + 1, last_error = NULL, delivered_at = now(),
                state = CASE state WHEN 'pending' THEN 'delivered' ELSE state END WHERE id = $1`,
        [orderId],
      ),
    );
  }

  /** Tells the order's domain in the same way as a failure that the site reports later. */
  private async refused(siteId: string, row: OrderRow, answer: { status: number; body: unknown }): Promise<void> {
    const { code, message } = refusal(answer.body);
    this.logger.log.error({ orderId: row.id, status: answer.status, code }, 'a site refused an order');
    await this.work.provider(async (tx) => {
      const changed = await tx.execute(
        `UPDATE outgoing_order SET state = 'failed', attempts = attempts + 1, last_error = $2, finished_at = now()
          WHERE id = $1 AND state = 'pending'`,
        [row.id, `${answer.status} ${code}: ${message}`.slice(0, 500)],
      );
      if (changed === 0) return;
      await this.results.apply(tx, {
        siteId,
        id: row.id,
        kind: orderFailed.kind,
        orderId: row.id,
        tenantId: row.tenantId,
        at: new Date(),
        payload: { kind: row.kind, code, message },
      });
    });
  }
}

function refusal(body: unknown): { code: string; message: string } {
  const problem = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const code = problem['code'];
  const detail = problem['detail'] ?? problem['message'];
  return {
    code: typeof code === 'string' ? code : 'order.refused',
    message: typeof detail === 'string' ? detail : 'The warm site refused this order.',
  };
}

/** Where a site takes orders; undefined once it is retired and nothing is left to tell it. */
export async function siteAddress(tx: ProviderTransaction, siteId: string): Promise<SiteAddress | undefined> {
  const [site] = await tx.query<SiteAddress>(
    `SELECT id AS "siteId", order_host AS host, order_port AS port,
            order_certificate_fingerprint AS "certificateFingerprint"
       FROM site WHERE id = $1`,
    [siteId],
  );
  return site;
}

@Handles(deliverOrdersJob)
export class DeliverOrdersHandler implements JobHandler<{ siteId: string }> {
  constructor(private readonly delivery: OrderDelivery) {}

  handle({ siteId }: { siteId: string }, signal: AbortSignal): Promise<void> {
    return this.delivery.deliver(siteId, signal);
  }
}

/** Wakes the delivery to each site that has orders waiting, whose wake-up was lost or whose tries ran out. */
@Handles(sweepOrdersJob)
export class SweepOrdersHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly queue: JobQueue,
  ) {}

  async handle(): Promise<void> {
    const rows = await this.work.provider((tx) =>
      tx.query<{ siteId: string }>(
        `SELECT DISTINCT site_id AS "siteId" FROM outgoing_order
          WHERE state = 'pending' AND issued_at < now() - interval '1 second'`,
      ),
    );
    // The key keeps one retrying job by site, however long it is out of reach.
    for (const { siteId } of rows) await this.queue.add(deliverOrdersJob, { siteId }, { key: siteId });
  }
}

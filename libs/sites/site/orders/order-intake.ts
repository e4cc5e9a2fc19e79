import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { order as orderSchema, type Order } from '#contracts/sites';
import { canonicalJson, verifyDocument } from '#libs/link';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { currentTraceparent } from '#libs/platform/telemetry';
import { SiteSettings } from '../site-settings.js';
import { OrderHandlers, type RegisteredOrder } from './order-handlers.js';
import { OrderConflictError, OrderKindUnknownError, OrderMalformedError, OrderRefusedError } from './order.errors.js';
import { OrderWaking } from './order-waking.js';

/** PEM (SPKI) of the Ed25519 key that this site's orders are signed with. */
export const ORDER_PUBLIC_KEY = Symbol('order public key');

/** What an order is about, in the order of preference: orders about the same thing keep their sequence. */
const SUBJECTS = ['runId', 'workloadId', 'preflightId', 'agentId'] as const;

/** The domain and the subject: a failover never waits for replication's orders, nor one workload for another. */
function workKey({ id, kind, payload }: Order): string {
  const subject = SUBJECTS.map((name) => payload[name]).find((value) => typeof value === 'string');
  return `${kind.split('.')[0] ?? kind}/${subject ?? id}`;
}

/** Takes orders in: verified, stored once, and their work woken. */
@Injectable()
export class OrderIntake {
  constructor(
    private readonly settings: SiteSettings,
    @Inject(ORDER_PUBLIC_KEY) private readonly publicKey: string,
    private readonly work: SiteUnitOfWork,
    private readonly handlers: OrderHandlers,
    private readonly waking: OrderWaking,
    private readonly logger: AppLogger,
  ) {}

  /**
   * Returns once the order is stored durably; an order that is there already is acknowledged again.
   *
   * @throws OrderMalformedError, OrderKindUnknownError, OrderRefusedError, OrderConflictError; then nothing is stored.
   */
  async receive(body: unknown): Promise<void> {
    const parsed = orderSchema.safeParse(body);
    if (!parsed.success) throw new OrderMalformedError('order.malformed', parsed.error.message);
    const order = parsed.data;
    this.verify(order);
    const registered = this.handlers.get(order.kind);
    if (!registered) throw new OrderKindUnknownError(order.kind);
    const payload = registered.contract.payload.safeParse(order.payload);
    if (!payload.success) throw new OrderMalformedError('order.payload-malformed', payload.error.message);
    const stored = await this.work.run((tx) => this.store(tx, order, registered, payload.data));
    if (!stored) return;
    this.logger.log.info({ orderId: order.id, kind: order.kind, number: order.number }, 'order received');
    this.waking.wake(order.id, order.kind);
  }

  private verify(order: Order): void {
    const { signature, ...signed } = order;
    if (!verifyDocument(signed, signature, this.publicKey)) {
      this.logger.log.warn({ orderId: order.id, kind: order.kind }, 'an order with a wrong signature was refused');
      throw new OrderRefusedError('order.signature-invalid');
    }
    if (order.siteId !== this.settings.siteId) {
      this.logger.log.warn({ orderId: order.id, siteId: order.siteId }, "another site's order was refused");
      throw new OrderRefusedError('order.other-site');
    }
  }

  private async store(
    tx: SiteTransaction,
    order: Order,
    registered: RegisteredOrder,
    payload: never,
  ): Promise<boolean> {
    // A repeated order may carry a newer signature; it is the same order if it says the same.
    const hash = createHash('sha256')
      .update(canonicalJson({ ...order, signature: undefined }))
      .digest('hex');
    const inserted = await tx.execute(
      `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, work_key, content_hash, traceparent)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
      [
        order.id,
        order.number,
        order.kind,
        order.tenantId,
        JSON.stringify(order.payload),
        order.issuedAt,
        workKey(order),
        hash,
        currentTraceparent(),
      ],
    );
    if (inserted === 1) {
      const { id, number, tenantId } = order;
      await registered.handler.received?.(tx, { id, number, tenantId, payload });
      return true;
    }
    const [known] = await tx.query<{ id: string; content_hash: string }>(
      `SELECT id, content_hash FROM site_order WHERE id = $1 OR number = $2`,
      [order.id, order.number],
    );
    if (known?.id === order.id && known.content_hash === hash) return false;
    this.logger.log.error({ orderId: order.id, number: order.number, known: known?.id }, 'a conflicting order came');
    throw new OrderConflictError(`order ${order.id}, number ${order.number}, against ${known?.id ?? 'unknown'}`);
  }
}

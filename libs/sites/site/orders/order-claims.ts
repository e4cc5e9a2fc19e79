import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { OrderHandlers } from './order-handlers.js';

/** How long a claim outlives a process that died with it; a living one renews it. */
export const CLAIM_SECONDS = 15;
const FIRST_PAUSE_SECONDS = 1;
const LONGEST_PAUSE_SECONDS = 60;
/** So many orders of one agency are worked on at once, urgent ones not counted: the others' come in between. */
const AGENCY_AT_ONCE = 4;

export interface ClaimedOrder {
  readonly id: string;
  readonly number: string;
  readonly kind: string;
  readonly tenant_id: string | null;
  readonly payload: unknown;
  readonly work_key: string;
  readonly attempts: number;
  readonly traceparent: string | null;
  /** Seconds since its receipt. */
  readonly age: number;
}

export interface DueOrder {
  readonly id: string;
  readonly kind: string;
}

/** In seconds: it doubles with each attempt. */
export const pauseAfter = (attempts: number): number =>
  Math.min(FIRST_PAUSE_SECONDS * 2 ** Math.min(attempts - 1, 10), LONGEST_PAUSE_SECONDS);

/**
 * Who works on which order: one at a time for each key, in the order of their numbers. A claim is a row's value with
 * an end, not a lock of a connection, since carrying out may talk to agents for longer than a transaction may last.
 */
@Injectable()
export class OrderClaims {
  /** This process, in the claims it makes. */
  private readonly owner = randomUUID();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly handlers: OrderHandlers,
  ) {}

  /** Undefined when it is finished, not due, another's, not yet its turn, or its agency has enough under way. */
  async claim(orderId: string): Promise<ClaimedOrder | undefined> {
    return this.work.run(async (tx) => {
      // Two orders of one key could each see the other unclaimed: the key's claims are made one after another.
      await tx.query(
        `SELECT pg_advisory_xact_lock(hashtext('order ' || work_key)),
                pg_advisory_xact_lock(hashtext('orders of ' || coalesce(tenant_id::text, '')))
           FROM site_order WHERE id = $1`,
        [orderId],
      );
      const [order] = await tx.query<ClaimedOrder>(
        `UPDATE site_order o
            SET claimed_by = $2, claimed_until = clock_timestamp() + make_interval(secs => $3), attempts = attempts + 1
          WHERE id = $1 AND state = 'received'
            AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
            AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())
            AND NOT EXISTS (
              SELECT FROM site_order other
               WHERE other.work_key = o.work_key AND other.state = 'received' AND other.id <> o.id
                 AND (other.number < o.number OR other.claimed_until > clock_timestamp()))
            AND (o.kind = ANY($4) OR o.tenant_id IS NULL OR $5 > (
              SELECT count(*) FROM site_order busy
               WHERE busy.tenant_id = o.tenant_id AND busy.state = 'received' AND busy.kind <> ALL($4)
                 AND busy.claimed_until > clock_timestamp()))
          RETURNING id, number, kind, tenant_id, payload, work_key, attempts, traceparent,
                    extract(epoch FROM clock_timestamp() - received_at)::float8 AS age`,
        [orderId, this.owner, CLAIM_SECONDS, this.handlers.urgentKinds, AGENCY_AT_ONCE],
      );
      return order;
    });
  }

  /** False when the claim was lost: another process may be at work on the order. */
  async renew(orderId: string): Promise<boolean> {
    const renewed = await this.work.run((tx) =>
      tx.execute(
        `UPDATE site_order SET claimed_until = clock_timestamp() + make_interval(secs => $3)
          WHERE id = $1 AND claimed_by = $2 AND state = 'received'`,
        [orderId, this.owner, CLAIM_SECONDS],
      ),
    );
    return renewed === 1;
  }

  /** Gives the order back for a later try. Answers the pause in seconds. */
  async postpone(order: ClaimedOrder, reason: string): Promise<number> {
    const pause = pauseAfter(order.attempts);
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE site_order SET claimed_until = NULL, claimed_by = NULL, last_error = $3,
                next_attempt_at = clock_timestamp() + make_interval(secs => $4)
          WHERE id = $1 AND claimed_by = $2 AND state = 'received'`,
        [order.id, this.owner, reason, pause],
      ),
    );
    return pause;
  }

  /** The open orders whose turn and time have come, the oldest first, of each agency a few: no one's fill the look. */
  async due(limit: number): Promise<DueOrder[]> {
    return this.work.run((tx) =>
      tx.query<DueOrder>(
        `SELECT id, kind FROM (
           SELECT id, kind, number, kind = ANY($2) AS urgent,
                  row_number() OVER (PARTITION BY tenant_id, kind = ANY($2) ORDER BY number) AS place
             FROM (SELECT DISTINCT ON (work_key) * FROM site_order
                    WHERE state = 'received' ORDER BY work_key, number) first
            WHERE (claimed_until IS NULL OR claimed_until < clock_timestamp())
              AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())) due
          WHERE urgent OR place <= $3 ORDER BY urgent DESC, place, number LIMIT $1`,
        [limit, this.handlers.urgentKinds, AGENCY_AT_ONCE],
      ),
    );
  }

  /** What can go on once an order is finished: the next of its key, and the next of its agency. */
  async next({ work_key: key, tenant_id: tenantId, id }: ClaimedOrder): Promise<DueOrder[]> {
    return this.work.run((tx) =>
      tx.query<DueOrder>(
        `(SELECT id, kind FROM site_order WHERE work_key = $1 AND state = 'received' AND id <> $3
           ORDER BY number LIMIT 1)
         UNION
         (SELECT id, kind FROM site_order
           WHERE tenant_id = $2 AND state = 'received' AND id <> $3 AND claimed_until IS NULL
             AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())
           ORDER BY number LIMIT 1)`,
        [key, tenantId, id],
      ),
    );
  }
}

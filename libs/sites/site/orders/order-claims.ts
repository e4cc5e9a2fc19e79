import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';

/** How long a claim outlives a process that died with it; a living one renews it. */
export const CLAIM_SECONDS = 15;
const FIRST_PAUSE_SECONDS = 1;
const LONGEST_PAUSE_SECONDS = 60;

export interface ClaimedOrder {
  readonly id: string;
  readonly number: string;
  readonly kind: string;
  readonly tenant_id: string | null;
  readonly payload: unknown;
  readonly work_key: string;
  readonly attempts: number;
  readonly traceparent: string | null;
}

/**
 * Who works on which order: one at a time for each key, in the order of their numbers. A claim is a row's value with
 * an end, not a lock of a connection, since carrying out may talk to agents for longer than a transaction may last.
 */
@Injectable()
export class OrderClaims {
  /** This process, in the claims it makes. */
  private readonly owner = randomUUID();

  constructor(private readonly work: SiteUnitOfWork) {}

  /** Undefined when it is finished, not due, another's, or not yet its turn. */
  async claim(orderId: string): Promise<ClaimedOrder | undefined> {
    return this.work.run(async (tx) => {
      // Two orders of one key could each see the other unclaimed: the key's claims are made one after another.
      await tx.query(`SELECT pg_advisory_xact_lock(hashtext('order ' || work_key)) FROM site_order WHERE id = $1`, [
        orderId,
      ]);
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
          RETURNING id, number, kind, tenant_id, payload, work_key, attempts, traceparent`,
        [orderId, this.owner, CLAIM_SECONDS],
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

  /** Gives the order back for a later try. Answers the pause in seconds: it doubles with each attempt. */
  async postpone(order: ClaimedOrder, reason: string): Promise<number> {
    const pause = Math.min(FIRST_PAUSE_SECONDS * 2 ** Math.min(order.attempts - 1, 10), LONGEST_PAUSE_SECONDS);
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

  /** The open orders whose turn and time have come. */
  async due(limit: number): Promise<string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT DISTINCT ON (work_key) id FROM site_order o
          WHERE state = 'received' AND number = (
            SELECT min(number) FROM site_order first WHERE first.work_key = o.work_key AND first.state = 'received')
            AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
            AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())
          ORDER BY work_key, number LIMIT $1`,
        [limit],
      ),
    );
    return rows.map((row) => row.id);
  }

  /** The order whose turn it is once `workKey`'s last one is finished. */
  async next(workKey: string): Promise<string | undefined> {
    const [row] = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT id FROM site_order WHERE work_key = $1 AND state = 'received' ORDER BY number LIMIT 1`,
        [workKey],
      ),
    );
    return row?.id;
  }
}

import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { PAGE_BYTES_MAX, type SiteResult } from '#contracts/sites';
import { Listener, SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';

/** The site database's address for LISTEN; provided by the application. */
export const SITE_DATABASE_URL = Symbol('site database url');

export interface OutboxLook {
  /** The last number that the control plane has applied: everything up to it is acknowledged. */
  readonly after: number;
  /** How long to wait for something new, in milliseconds; 0 answers at once. */
  readonly waitMs: number;
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

interface ResultRow {
  readonly seq: string;
  readonly id: string;
  readonly kind: string;
  readonly order_id: string | null;
  readonly tenant_id: string | null;
  readonly payload: Record<string, unknown>;
  readonly at: Date;
}

/** A waiting look asks the database again at least this often, since a notification may be missed. */
const LOOK_AGAIN_MS = 5_000;

/**
 * Reads results in the order of their numbers.
 *
 * The reader gives the numbers, under one row's lock, to rows that have been committed: a number taken by the writer
 * would be visible late when its transaction is slow, and a cursor would have passed it.
 */
@Injectable()
export class OutboxReader implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly waiting = new Set<() => void>();
  private readonly listener: Listener;

  constructor(
    @Inject(SITE_DATABASE_URL) url: string,
    private readonly work: SiteUnitOfWork,
    logger: AppLogger,
  ) {
    this.listener = new Listener(url, ['site_result'], () => this.wake(), logger.log);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.listener.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.listener.close();
    this.wake();
  }

  private wake(): void {
    for (const wake of this.waiting) wake();
  }

  /**
   * Up to `limit` (500) results after `after`, and {@link PAGE_BYTES_MAX} bytes unless the first alone has more, as soon as
   * there is one; none when the wait is over.
   */
  async look(look: OutboxLook): Promise<SiteResult[]> {
    const end = performance.now() + look.waitMs;
    for (;;) {
      // Heard of before the look, so that what comes between the look and the wait is not missed.
      const heard = this.nextChange(Math.min(LOOK_AGAIN_MS, end - performance.now()), look.signal);
      try {
        const results = await this.work.run((tx) => this.read(tx, look.after, look.limit ?? 500));
        if (results.length > 0 || performance.now() >= end || look.signal?.aborted) return results;
        await heard.promise;
      } finally {
        heard.cancel();
      }
    }
  }

  private nextChange(ms: number, signal: AbortSignal | undefined): { promise: Promise<void>; cancel: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.max(0, ms));
    this.waiting.add(resolve);
    signal?.addEventListener('abort', () => resolve(), { once: true });
    const cancel = (): void => {
      clearTimeout(timer);
      this.waiting.delete(resolve);
      resolve();
    };
    return { promise, cancel };
  }

  private async read(tx: SiteTransaction, after: number, limit: number): Promise<SiteResult[]> {
    await this.number(tx, after);
    const rows = await tx.query<ResultRow>(
      `WITH page AS (
         SELECT seq, id, kind, order_id, tenant_id, payload, at, octet_length(payload::text) AS bytes
           FROM site_result WHERE seq > $1 ORDER BY seq LIMIT $2),
       summed AS (SELECT *, sum(bytes) OVER (ORDER BY seq) AS total, row_number() OVER (ORDER BY seq) AS place FROM page)
       SELECT seq, id, kind, order_id, tenant_id, payload, at FROM summed
        WHERE total <= $3 OR place = 1 ORDER BY seq`,
      [after, limit, PAGE_BYTES_MAX],
    );
    return rows.map((row) => ({
      seq: Number(row.seq),
      id: row.id,
      kind: row.kind,
      orderId: row.order_id,
      tenantId: row.tenant_id,
      payload: row.payload,
      at: row.at.toISOString(),
    }));
  }

  private async number(tx: SiteTransaction, after: number): Promise<void> {
    const idle = await tx.query(
      `SELECT FROM site_outbox WHERE acknowledged_seq >= $1 AND NOT EXISTS (SELECT FROM site_result WHERE seq IS NULL)`,
      [after],
    );
    if (idle.length > 0) return;
    // Takes the row's lock, too. A reader whose cursor is ahead of us knew a database that was lost: numbers go on
    // above what it has seen.
    await tx.execute(
      `UPDATE site_outbox SET last_seq = greatest(last_seq, $1), acknowledged_seq = greatest(acknowledged_seq, $1),
              acknowledged_at = clock_timestamp()`,
      [after],
    );
    await tx.execute(
      `WITH fresh AS (
         SELECT r.id, o.last_seq + row_number() OVER (ORDER BY r.written) AS seq
           FROM site_result r, site_outbox o WHERE r.seq IS NULL),
       numbered AS (UPDATE site_result r SET seq = fresh.seq FROM fresh WHERE r.id = fresh.id RETURNING r.seq)
       UPDATE site_outbox SET last_seq = greatest(last_seq, (SELECT coalesce(max(seq), 0) FROM numbered))`,
    );
  }
}

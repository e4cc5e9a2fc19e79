import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import type { ProviderTransaction, Transaction } from '#libs/platform/database';
import { UsageTimeError } from './metering.errors.js';

export interface UsageFact {
  /** Made where it was measured, once: by it a fact counts once. */
  readonly id: string;
  readonly tenantId: string;
  /** Domain and unit: `archive.stored-bytes`. */
  readonly kind: string;
  readonly subjectId: string;
  readonly siteId: string | null;
  readonly amount: number;
  readonly from: Date;
  /** The same as `from` for what happened at a moment. */
  readonly to: Date;
}

export interface UsageTotal {
  /** Of facts at a moment: their sum. */
  readonly sum: number;
  /** Of intervals: amount × seconds, clipped to the time asked for. */
  readonly amountSeconds: number;
}

/** Clocks of sites may be a little ahead of ours. */
const AHEAD_MS = 300_000;

/** Writes facts of usage, and adds them up. */
@Injectable()
export class Usage {
  constructor(private readonly clock: Clock) {}

  /**
   * Records a fact; one that is there stays as it is. An interval that begins before the end of the one known last (of
   * its subject, site and kind) begins there; what nothing is left of is not recorded.
   *
   * @throws UsageTimeError
   */
  async record(tx: ProviderTransaction, fact: UsageFact): Promise<void> {
    const { id, tenantId, kind, subjectId, siteId, amount, from, to } = fact;
    if (from > to || to.getTime() > this.clock.now().getTime() + AHEAD_MS) throw new UsageTimeError(id, from, to);
    await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [
      `usage ${tenantId} ${kind} ${subjectId} ${siteId}`,
    ]);
    await tx.execute(
      `WITH known AS (
         SELECT max(to_at) AS until FROM usage_fact
          WHERE tenant_id = $1 AND kind = $3 AND subject_id = $4 AND site_id IS NOT DISTINCT FROM $5 AND from_at < to_at)
       INSERT INTO usage_fact (tenant_id, id, kind, subject_id, site_id, amount, from_at, to_at)
       SELECT $1, $2, $3, $4, $5, $6, CASE WHEN $7::timestamptz < $8 THEN greatest($7, known.until) ELSE $7 END, $8
         FROM known WHERE $7 = $8 OR known.until IS NULL OR known.until < $8
       ON CONFLICT DO NOTHING`,
      [tenantId, id, kind, subjectId, siteId, amount, from, to],
    );
  }

  /** What an agency used of a kind in [from, to), of one subject or of all. */
  async total(
    tx: Transaction,
    asked: {
      readonly tenantId: string;
      readonly kind: string;
      readonly subjectId?: string;
      readonly from: Date;
      readonly to: Date;
    },
  ): Promise<UsageTotal> {
    const [row] = await tx.query<UsageTotal>(
      `SELECT coalesce(sum(amount) FILTER (WHERE from_at = to_at), 0)::float8 AS sum,
              coalesce(sum(amount * extract(epoch FROM least(to_at, $5) - greatest(from_at, $4)))
                FILTER (WHERE from_at < to_at), 0)::float8 AS "amountSeconds"
         FROM usage_fact
        WHERE tenant_id = $1 AND kind = $2 AND ($3::uuid IS NULL OR subject_id = $3)
          AND from_at < $5 AND (to_at > $4 OR from_at = to_at AND from_at >= $4)`,
      [asked.tenantId, asked.kind, asked.subjectId ?? null, asked.from, asked.to],
    );
    return row ?? { sum: 0, amountSeconds: 0 };
  }
}

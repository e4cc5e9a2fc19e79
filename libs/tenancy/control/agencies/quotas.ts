import type { Transaction } from '#libs/platform/database';
import { QuotaReachedError } from '../tenancy.errors.js';

/** How many of something one agency may have: anybody can sign an agency up, and all share what there is. */
export interface AgencyQuota {
  /** What it is, in the plural, as the refusal says it. */
  readonly what: string;
  readonly most: number;
  /** Answers `n`, how many the agency `$1` has now. */
  readonly count: string;
}

/**
 * Takes a place for one more, until the transaction ends: one after another for each agency and kind, so that two do not
 * both take the last.
 *
 * @throws QuotaReachedError
 */
export async function requirePlace(
  tx: Transaction,
  tenantId: string,
  { what, most, count }: AgencyQuota,
): Promise<void> {
  await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [`${what} of ${tenantId}`]);
  const [row] = await tx.query<{ n: number }>(count, [tenantId]);
  if ((row?.n ?? 0) >= most) throw new QuotaReachedError(what, most);
}

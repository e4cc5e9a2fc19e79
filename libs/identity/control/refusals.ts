import { Injectable } from '@nestjs/common';
import { createHash } from 'node:crypto';
import type { ProviderTransaction } from '#libs/platform/database';

/**
 * Refused sign-ins within a quarter of an hour. Few are allowed from one network address; many from all together, so
 * that a stranger cannot lock a town out of its own account on the day it needs it.
 */
const WINDOW_SECONDS = 900;
const FROM_ONE_ADDRESS = 10;
const FROM_ALL = 100;

const hash = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Counts refused sign-ins in the database, so that all processes count together and a restart forgets nothing. */
@Injectable()
export class Refusals {
  /** Seconds to wait before the next try, or 0. */
  async secondsToWait(tx: ProviderTransaction, email: string, address: string): Promise<number> {
    const [row] = await tx.query<{ seconds: number }>(
      `SELECT COALESCE(max(ceil(extract(epoch FROM until - now()))), 0)::int AS seconds FROM auth.refusal
        WHERE until > now() AND ((key = $1 AND count >= $2) OR (key = $3 AND count >= $4))`,
      [hash(`${email}|${address}`), FROM_ONE_ADDRESS, hash(email), FROM_ALL],
    );
    return row?.seconds ?? 0;
  }

  async count(tx: ProviderTransaction, email: string, address: string): Promise<void> {
    await tx.execute(
      `INSERT INTO auth.refusal AS r (key, count, until)
       SELECT key, 1, now() + make_interval(secs => $3) FROM unnest(ARRAY[$1, $2]::bytea[]) AS key ORDER BY key
       ON CONFLICT (key) DO UPDATE
         SET count = CASE WHEN r.until > now() THEN r.count + 1 ELSE 1 END,
             until = CASE WHEN r.until > now() THEN r.until ELSE excluded.until END`,
      [hash(`${email}|${address}`), hash(email), WINDOW_SECONDS],
    );
  }

  async forget(tx: ProviderTransaction, email: string, address: string): Promise<void> {
    await tx.execute(`DELETE FROM auth.refusal WHERE key = $1`, [hash(`${email}|${address}`)]);
  }
}

import { Injectable } from '@nestjs/common';
import { createHash } from 'node:crypto';
import type { ProviderTransaction } from '#libs/platform/database';

/**
 * Refused sign-ins within a quarter of an hour. Few are allowed for one account from one source, more for all accounts
 * from one source and for one account from all sources: but the last two hold up strangers alone. A person passes from
 * a source where they have signed in before, so nobody can lock a town out on the day it needs it.
 */
const WINDOW_SECONDS = 900;
const ACCOUNT_FROM_SOURCE = 10;
const ACCOUNT_FROM_ALL = 100;
const ALL_FROM_SOURCE = 200;
/** A source counts as known for so long after the last sign-in there. */
const KNOWN_DAYS = 90;

const hash = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The person behind an address, as far as a sign-in must know before the password is checked. */
export interface Applicant {
  readonly userId: string | undefined;
  /** Undefined when there is no such person. */
  readonly passwordHash: string | undefined;
  /** Whether this person has signed in from this source before. */
  readonly known: boolean;
}

/** Counts refused sign-ins in the database, so that all processes count together and a restart forgets nothing. */
@Injectable()
export class Refusals {
  async applicant(tx: ProviderTransaction, email: string, source: string): Promise<Applicant> {
    const [row] = await tx.query<{ userId: string; passwordHash: string | null; known: boolean }>(
      `SELECT u.id AS "userId", a.password AS "passwordHash",
              EXISTS (SELECT FROM auth.known_source k WHERE k.user_id = u.id AND k.source = $2
                         AND k.seen_at > now() - make_interval(days => $3)) AS known
         FROM auth."user" u LEFT JOIN auth.account a ON a."userId" = u.id AND a."providerId" = 'credential'
        WHERE u.email = $1`,
      [email, hash(source), KNOWN_DAYS],
    );
    return { userId: row?.userId, passwordHash: row?.passwordHash ?? undefined, known: row?.known ?? false };
  }

  /**
   * Counts a try as refused before it is checked, so that tries at once cannot all pass as the last one; whoever was
   * right takes it back by {@link release}. Answers the seconds to wait, or 0 when the try may be made.
   */
  async take(tx: ProviderTransaction, email: string, source: string, known: boolean): Promise<number> {
    const keys = this.keys(email, source);
    const rows = await tx.query<{ key: Buffer; count: number; seconds: number }>(
      `INSERT INTO auth.refusal AS r (key, count, until)
       SELECT key, 1, now() + make_interval(secs => $2) FROM unnest($1::bytea[]) AS key ORDER BY key
       ON CONFLICT (key) DO UPDATE
         SET count = CASE WHEN r.until > now() THEN r.count + 1 ELSE 1 END,
             until = CASE WHEN r.until > now() THEN r.until ELSE excluded.until END
       RETURNING key, count, ceil(extract(epoch FROM until - now()))::int AS seconds`,
      [[keys.both, keys.account, keys.source], WINDOW_SECONDS],
    );
    const limits = new Map([[keys.both.toString('hex'), ACCOUNT_FROM_SOURCE]]);
    if (!known) {
      limits.set(keys.account.toString('hex'), ACCOUNT_FROM_ALL);
      limits.set(keys.source.toString('hex'), ALL_FROM_SOURCE);
    }
    const passed = rows.filter(({ key, count }) => count > (limits.get(key.toString('hex')) ?? Infinity));
    // A try that is not made is no refusal: whoever goes on at a closed door must not close others.
    if (passed.length > 0) await this.release(tx, email, source);
    return Math.max(0, ...passed.map(({ seconds }) => Math.max(1, seconds)));
  }

  /** Takes back what {@link take} counted: the try was no refusal. */
  async release(tx: ProviderTransaction, email: string, source: string): Promise<void> {
    const { both, account, source: from } = this.keys(email, source);
    await tx.query(`SELECT FROM auth.refusal WHERE key = ANY ($1::bytea[]) ORDER BY key FOR UPDATE`, [
      [both, account, from],
    ]);
    await tx.execute(`UPDATE auth.refusal SET count = count - 1 WHERE key = ANY ($1::bytea[]) AND count > 0`, [
      [both, account, from],
    ]);
  }

  /** A person has shown who they are from this source: what was refused here before is forgotten. */
  async know(tx: ProviderTransaction, userId: string, email: string, source: string): Promise<void> {
    await tx.execute(`DELETE FROM auth.refusal WHERE key = $1`, [this.keys(email, source).both]);
    await tx.execute(
      `INSERT INTO auth.known_source (user_id, source) VALUES ($1, $2)
       ON CONFLICT (user_id, source) DO UPDATE SET seen_at = now()`,
      [userId, hash(source)],
    );
  }

  /** After a new password: no source of before is trusted any more. */
  async forgetSources(tx: ProviderTransaction, userId: string): Promise<void> {
    await tx.execute(`DELETE FROM auth.known_source WHERE user_id = $1`, [userId]);
  }

  /**
   * Marks a code of an authenticator app as used. False when it was used already: RFC 6238, 5.2 wants each to count
   * once, and better-auth takes one for as long as it is valid, which is a minute and a half.
   */
  async useCode(tx: ProviderTransaction, userId: string, code: string): Promise<boolean> {
    const used = await tx.execute(
      `INSERT INTO auth.used_code AS c (user_id, code_hash, until) VALUES ($1, $2, now() + interval '3 minutes')
       ON CONFLICT (user_id, code_hash) DO UPDATE SET until = excluded.until WHERE c.until < now()`,
      [userId, hash(`${userId}|${code}`)],
    );
    return used > 0;
  }

  private keys(email: string, source: string): Record<'both' | 'account' | 'source', Buffer> {
    return { both: hash(`${email}|${source}`), account: hash(email), source: hash(`|${source}`) };
  }
}

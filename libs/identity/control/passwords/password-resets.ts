import { Injectable } from '@nestjs/common';
import type { ProviderTransaction } from '#libs/platform/database';
import { sourceOf } from '#libs/platform/address';
import { Identity } from '../identity.service.js';
import { hashToken, makeToken } from '../sessions/one-time-token.js';
import { Refusals } from '../refusals.js';

const HOURS = 1;
/** At most one mail in this time, so that nobody fills somebody else's mailbox. */
const MAIL_EVERY_SECONDS = 60;
/** Nor any more while so many mailed tokens are still good: who asks has those in the mailbox. */
const OPEN = 5;

/** Whose token it is. */
export interface ResetPerson {
  readonly userId: string;
  readonly email: string;
}

/** Tokens to choose a new password with: each good for an hour, whoever asks for another; the first used voids all. */
@Injectable()
export class PasswordResets {
  constructor(
    private readonly identity: Identity,
    private readonly refusals: Refusals,
  ) {}

  /** A fresh token for the person with this address; undefined when there is none to mail. */
  async issue(tx: ProviderTransaction, email: string): Promise<string | undefined> {
    const { token, hash } = makeToken();
    const userId = await this.identity.findAlone(tx, email);
    if (userId === undefined) return undefined;
    const issued = await tx.execute(
      `INSERT INTO auth.password_reset (user_id, token_hash, expires_at)
       SELECT $1, $2, now() + make_interval(hours => $3)
        WHERE (SELECT count(*) FROM auth.password_reset WHERE user_id = $1 AND expires_at > now()) < $5
          AND NOT EXISTS (SELECT FROM auth.password_reset
                           WHERE user_id = $1 AND mailed_at > now() - make_interval(secs => $4))`,
      [userId, hash, HOURS, MAIL_EVERY_SECONDS, OPEN],
    );
    return issued > 0 ? token : undefined;
  }

  /** Whose token it is, without using it; undefined for a wrong, used or expired one. */
  async find(tx: ProviderTransaction, token: string): Promise<ResetPerson | undefined> {
    const [row] = await tx.query<ResetPerson>(
      `SELECT r.user_id AS "userId", u.email FROM auth.password_reset r JOIN auth."user" u ON u.id = r.user_id
        WHERE r.token_hash = $1 AND r.expires_at > now()`,
      [hashToken(token)],
    );
    return row;
  }

  /**
   * Uses a token up, with all others of that person, and sets the password: all sessions end, and no source of before is trusted any more but `address`,
   * from where the mailed token came. Undefined for a wrong, used or expired token.
   */
  async use(
    tx: ProviderTransaction,
    token: string,
    passwordHash: string,
    address: string,
  ): Promise<ResetPerson | undefined> {
    const whose = await this.find(tx, token);
    if (!whose) return undefined;
    // One after another for each person, so that of two tokens at once one alone counts.
    await this.identity.findAlone(tx, whose.email);
    const used = await tx.execute(`DELETE FROM auth.password_reset WHERE token_hash = $1`, [hashToken(token)]);
    if (used === 0) return undefined;
    await tx.execute(`DELETE FROM auth.password_reset WHERE user_id = $1`, [whose.userId]);
    await this.identity.setPassword(tx, whose.userId, passwordHash);
    await this.refusals.forgetSources(tx, whose.userId);
    await this.refusals.know(tx, whose.userId, whose.email, sourceOf(address));
    return whose;
  }
}

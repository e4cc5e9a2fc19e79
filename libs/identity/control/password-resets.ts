import { Injectable } from '@nestjs/common';
import type { ProviderTransaction } from '#libs/platform/database';
import { sourceOf } from '#libs/platform/http';
import { Identity } from './identity.service.js';
import { hashToken, makeToken } from './one-time-token.js';
import { Refusals } from './refusals.js';

const HOURS = 1;
/** At most one mail in this time, so that nobody fills somebody else's mailbox. */
const MAIL_EVERY_SECONDS = 60;

/** Whose token it is. */
export interface ResetPerson {
  readonly userId: string;
  readonly email: string;
}

/** Tokens to choose a new password with: one a person, good for an hour, used once. */
@Injectable()
export class PasswordResets {
  constructor(
    private readonly identity: Identity,
    private readonly refusals: Refusals,
  ) {}

  /** A fresh token for the person with this address, which voids the one before; undefined when there is none to mail. */
  async issue(tx: ProviderTransaction, email: string): Promise<string | undefined> {
    const { token, hash } = makeToken();
    const issued = await tx.query(
      `INSERT INTO auth.password_reset AS r (user_id, token_hash, expires_at)
       SELECT id, $2, now() + make_interval(hours => $3) FROM auth."user" WHERE email = $1
       ON CONFLICT (user_id) DO UPDATE
         SET token_hash = excluded.token_hash, expires_at = excluded.expires_at, mailed_at = now()
         WHERE r.mailed_at < now() - make_interval(secs => $4)
       RETURNING user_id`,
      [email.toLowerCase(), hash, HOURS, MAIL_EVERY_SECONDS],
    );
    return issued.length > 0 ? token : undefined;
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
   * Uses a token up and sets the password: all sessions end, and no source of before is trusted any more but `address`,
   * from where the mailed token came. Undefined for a wrong, used or expired token.
   */
  async use(
    tx: ProviderTransaction,
    token: string,
    passwordHash: string,
    address: string,
  ): Promise<ResetPerson | undefined> {
    const [row] = await tx.query<ResetPerson>(
      `DELETE FROM auth.password_reset r USING auth."user" u
        WHERE u.id = r.user_id AND r.token_hash = $1 AND r.expires_at > now()
        RETURNING r.user_id AS "userId", u.email`,
      [hashToken(token)],
    );
    if (!row) return undefined;
    await this.identity.setPassword(tx, row.userId, passwordHash);
    await this.refusals.forgetSources(tx, row.userId);
    await this.refusals.know(tx, row.userId, row.email, sourceOf(address));
    return row;
  }
}

import { Injectable } from '@nestjs/common';
import type { ProviderTransaction } from '#libs/platform/database';
import { insideTransaction } from './auth-database.js';
import { AuthenticationLibrary, MAX_PASSWORD, MIN_PASSWORD } from './authentication.js';
import { PasswordUnfitError } from './identity.errors.js';
import { PasswordWork } from './passwords/password-work.js';
import { SessionTokens } from './sessions/session-token.js';

/** What a session is for. */
export type SessionPurpose =
  { readonly audience: 'member'; readonly tenantId: string } | { readonly audience: 'staff' };

/** A session as its client holds it. */
export interface ClientSession {
  readonly token: string;
  readonly expiresAt: Date;
}

const TOO_COMMON = /^(.)\1+$|password|mainstay|12345678|qwertyui/i;

/** @throws PasswordUnfitError (NIST SP 800-63B: length and a look at what is commonly used, no composition rules). */
export function checkPassword(password: string, email: string): void {
  if (password.length < MIN_PASSWORD) throw new PasswordUnfitError(`Use at least ${MIN_PASSWORD} characters.`);
  if (password.length > MAX_PASSWORD) throw new PasswordUnfitError(`Use at most ${MAX_PASSWORD} characters.`);
  const local = email.split('@')[0] ?? '';
  if (TOO_COMMON.test(password) || (local.length > 3 && password.toLowerCase().includes(local.toLowerCase()))) {
    throw new PasswordUnfitError('This password is too easy to guess. Use a few words that do not belong together.');
  }
}

/** People, their passwords and sessions, kept by better-auth inside our transactions. */
@Injectable()
export class Identity {
  constructor(
    private readonly library: AuthenticationLibrary,
    private readonly tokens: SessionTokens,
    private readonly passwords: PasswordWork,
  ) {}

  /** Never call it inside a transaction: it waits its turn. @throws PasswordUnfitError, PasswordsBusyError */
  async hash(password: string, email: string): Promise<string> {
    checkPassword(password, email);
    return this.passwords.hash(password);
  }

  /** The id of the person with this address, if there is one. */
  async find(tx: ProviderTransaction, email: string): Promise<string | undefined> {
    const [row] = await tx.query<{ id: string }>(`SELECT id FROM auth."user" WHERE email = $1`, [email.toLowerCase()]);
    return row?.id;
  }

  /** Like {@link find}, and nobody else makes a person with this address until the transaction ends. */
  async findAlone(tx: ProviderTransaction, email: string): Promise<string | undefined> {
    await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [`person ${email.toLowerCase()}`]);
    return this.find(tx, email);
  }

  /** Makes a person whose address has been proved by a mailed token. `passwordHash` comes from {@link hash}. */
  create(tx: ProviderTransaction, person: { email: string; name: string; passwordHash: string }): Promise<string> {
    return insideTransaction(tx, async () => {
      const { internalAdapter } = await (await this.library.get()).$context;
      const user = await internalAdapter.createUser(
        { email: person.email, name: person.name, emailVerified: true },
        { method: 'email-password' },
      );
      await internalAdapter.linkAccount({
        userId: user.id,
        providerId: 'credential',
        accountId: user.id,
        password: person.passwordHash,
      });
      return user.id;
    });
  }

  /**
   * Replaces a password and ends all sessions of that person, those too that a sign-in with the old one is making: it
   * holds the account's row until its session is there.
   */
  async setPassword(tx: ProviderTransaction, userId: string, passwordHash: string): Promise<void> {
    await insideTransaction(tx, async () => {
      const { internalAdapter } = await (await this.library.get()).$context;
      await internalAdapter.updatePassword(userId, passwordHash);
    });
    await tx.execute(`DELETE FROM auth.session WHERE "userId" = $1`, [userId]);
  }

  /** Says what a fresh session is for, and returns what the client holds of it. */
  async dedicate(tx: ProviderTransaction, token: string, purpose: SessionPurpose): Promise<ClientSession> {
    const [row] = await tx.query<{ expiresAt: Date }>(
      `UPDATE auth.session SET "audience" = $2, "tenantId" = $3 WHERE token = $1 RETURNING "expiresAt"`,
      [token, purpose.audience, purpose.audience === 'member' ? purpose.tenantId : null],
    );
    if (!row) throw new Error('the new session is gone');
    return { token: this.tokens.sign(token), expiresAt: row.expiresAt };
  }

  async endSession(tx: ProviderTransaction, token: string): Promise<void> {
    await tx.execute(`DELETE FROM auth.session WHERE token = $1`, [token]);
  }
}

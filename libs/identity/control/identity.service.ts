import { Injectable } from '@nestjs/common';
import type { ProviderTransaction } from '#libs/platform/database';
import { insideTransaction } from './auth-database.js';
import {
  type Authentication,
  AuthenticationLibrary,
  MAX_PASSWORD,
  MIN_PASSWORD,
  refusalCode,
} from './authentication.js';
import {
  CodeRequiredError,
  CodeWrongError,
  PasswordUnfitError,
  SignInLockedError,
  SignInRefusedError,
  TwoFactorStateError,
} from './identity.errors.js';
import { hashPassword } from './password.js';
import { Refusals } from './refusals.js';
import { SessionTokens } from './session-token.js';

export interface Credentials {
  readonly email: string;
  readonly password: string;
  /** Six digits of an authenticator app, or a backup code. */
  readonly code?: string | undefined;
  /** The caller's network address. */
  readonly address: string;
}

/** A sign-in's outcome as a value: what counts refusals must be committed, so it cannot be thrown through. */
export type SignInOutcome =
  | { readonly kind: 'signed-in'; readonly userId: string; readonly token: string }
  | { readonly kind: 'refused' }
  | { readonly kind: 'code-required' }
  | { readonly kind: 'code-wrong' }
  | { readonly kind: 'locked'; readonly seconds: number };

/** What a session is for. */
export type SessionPurpose =
  { readonly audience: 'member'; readonly tenantId: string } | { readonly audience: 'staff' };

/** The error that an outcome means, for the caller to throw once its transaction is committed. */
export function refusalOf(outcome: Exclude<SignInOutcome, { kind: 'signed-in' }>): Error {
  switch (outcome.kind) {
    case 'refused':
      return new SignInRefusedError();
    case 'code-required':
      return new CodeRequiredError();
    case 'code-wrong':
      return new CodeWrongError();
    case 'locked':
      return new SignInLockedError(outcome.seconds);
  }
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

const SESSION_COOKIE_OF_LIBRARY = 'better-auth.session_token';

const cookiesOf = (headers: Headers): string =>
  headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0] ?? '')
    .filter((cookie) => !cookie.endsWith('='))
    .join('; ');

/** People: their passwords, second factors and sessions, kept by better-auth inside our transactions. */
@Injectable()
export class Identity {
  constructor(
    private readonly library: AuthenticationLibrary,
    private readonly tokens: SessionTokens,
    private readonly refusals: Refusals,
  ) {}

  /** @throws PasswordUnfitError */
  async hash(password: string, email: string): Promise<string> {
    checkPassword(password, email);
    return hashPassword(password);
  }

  /** The id of the person with this address, if there is one. */
  async find(tx: ProviderTransaction, email: string): Promise<string | undefined> {
    const [row] = await tx.query<{ id: string }>(`SELECT id FROM auth."user" WHERE email = $1`, [email.toLowerCase()]);
    return row?.id;
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

  /** Replaces a password and ends all sessions of that person. */
  async setPassword(tx: ProviderTransaction, userId: string, passwordHash: string): Promise<void> {
    await insideTransaction(tx, async () => {
      const { internalAdapter } = await (await this.library.get()).$context;
      await internalAdapter.updatePassword(userId, passwordHash);
      await internalAdapter.deleteUserSessions(userId);
    });
  }

  /** Checks a password and, where there is one, the second factor; makes a session that serves nothing yet. */
  async signIn(tx: ProviderTransaction, given: Credentials): Promise<SignInOutcome> {
    const email = given.email.toLowerCase();
    const seconds = await this.refusals.secondsToWait(tx, email, given.address);
    if (seconds > 0) return { kind: 'locked', seconds };
    const outcome = await insideTransaction(tx, () => this.authenticate(email, given));
    if (outcome.kind === 'signed-in') await this.refusals.forget(tx, email, given.address);
    else if (outcome.kind !== 'code-required') await this.refusals.count(tx, email, given.address);
    return outcome;
  }

  private async authenticate(email: string, given: Credentials): Promise<SignInOutcome> {
    try {
      const { api } = await this.library.get();
      const { response, headers } = await api.signInEmail({
        body: { email, password: given.password },
        headers: new Headers(),
        returnHeaders: true,
      });
      if (!('twoFactorRedirect' in response)) {
        return { kind: 'signed-in', userId: response.user.id, token: response.token };
      }
      if (given.code === undefined) return { kind: 'code-required' };
      return await this.secondFactor(given.code, new Headers({ cookie: cookiesOf(headers) }));
    } catch (error) {
      if (refusalCode(error) !== undefined) return { kind: 'refused' };
      throw error;
    }
  }

  private async secondFactor(code: string, headers: Headers): Promise<SignInOutcome> {
    try {
      const { api } = await this.library.get();
      const answer = /^\d{6}$/.test(code)
        ? await api.verifyTOTP({ body: { code }, headers })
        : await api.verifyBackupCode({ body: { code }, headers });
      if (!answer.token) return { kind: 'code-wrong' };
      return { kind: 'signed-in', userId: answer.user.id, token: answer.token };
    } catch (error) {
      if (refusalCode(error) !== undefined) return { kind: 'code-wrong' };
      throw error;
    }
  }

  /** Says what a fresh session is for, and returns what the client holds of it. */
  async dedicate(
    tx: ProviderTransaction,
    token: string,
    purpose: SessionPurpose,
  ): Promise<{ token: string; expiresAt: Date }> {
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

  /**
   * Begins the set-up of an authenticator app; it counts only once {@link confirmTwoFactor} has seen a code.
   *
   * @throws SignInRefusedError when the password is wrong, TwoFactorStateError when there is one already.
   */
  beginTwoFactor(
    tx: ProviderTransaction,
    token: string,
    password: string,
  ): Promise<{ uri: string; backupCodes: string[] }> {
    return insideTransaction(tx, async () => {
      try {
        const { api } = await this.library.get();
        const answer = await api.enableTwoFactor({
          body: { password, method: 'totp' },
          headers: this.asCookie(token),
        });
        if (answer.method !== 'totp') throw new Error('better-auth answered another method');
        return { uri: answer.totpURI, backupCodes: answer.backupCodes };
      } catch (error) {
        throw this.twoFactorError(error);
      }
    });
  }

  /** Ends the set-up with a first code. The session is replaced: the answer is what the client holds from now on. */
  async confirmTwoFactor(
    tx: ProviderTransaction,
    token: string,
    code: string,
  ): Promise<{ token: string; expiresAt: Date }> {
    return this.replaceSession(tx, token, ({ api }) =>
      api.verifyTOTP({ body: { code }, headers: this.asCookie(token), returnHeaders: true }),
    );
  }

  /** Takes the second factor away. The session is replaced. */
  async endTwoFactor(
    tx: ProviderTransaction,
    token: string,
    password: string,
  ): Promise<{ token: string; expiresAt: Date }> {
    return this.replaceSession(tx, token, ({ api }) =>
      api.disableTwoFactor({ body: { password }, headers: this.asCookie(token), returnHeaders: true }),
    );
  }

  private async replaceSession(
    tx: ProviderTransaction,
    token: string,
    change: (library: Authentication) => Promise<{ headers: Headers }>,
  ): Promise<{ token: string; expiresAt: Date }> {
    const [old] = await tx.query<{ audience: 'member' | 'staff'; tenantId: string | null }>(
      `SELECT "audience", "tenantId" FROM auth.session WHERE token = $1`,
      [token],
    );
    if (!old) throw new SignInRefusedError();
    const fresh = await insideTransaction(tx, async () => {
      try {
        const { headers } = await change(await this.library.get());
        const cookie = new RegExp(`${SESSION_COOKIE_OF_LIBRARY}=([^;]+)`).exec(cookiesOf(headers))?.[1];
        return cookie === undefined ? undefined : this.tokens.verify(decodeURIComponent(cookie));
      } catch (error) {
        throw this.twoFactorError(error);
      }
    });
    if (fresh === undefined) throw new TwoFactorStateError('There is nothing to confirm: begin the set-up first.');
    const purpose: SessionPurpose =
      old.audience === 'member' && old.tenantId
        ? { audience: 'member', tenantId: old.tenantId }
        : { audience: 'staff' };
    return this.dedicate(tx, fresh, purpose);
  }

  private asCookie(token: string): Headers {
    return new Headers({ cookie: `${SESSION_COOKIE_OF_LIBRARY}=${encodeURIComponent(this.tokens.sign(token))}` });
  }

  private twoFactorError(error: unknown): unknown {
    const code = refusalCode(error);
    if (code === undefined) return error;
    if (code === 'INVALID_PASSWORD') return new SignInRefusedError();
    if (code === 'INVALID_CODE') return new CodeWrongError();
    if (code === 'TOTP_ALREADY_ENABLED') return new TwoFactorStateError('An authenticator app is set up already.');
    return new TwoFactorStateError('There is no authenticator app to confirm or remove here.');
  }
}

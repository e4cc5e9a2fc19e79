import { Injectable } from '@nestjs/common';
import { beforeTheChange, type ProviderTransaction, UnitOfWork } from '#libs/platform/database';
import { sourceOf } from '#libs/platform/address';
import { insideTransaction } from '../auth-database.js';
import { AuthenticationLibrary, refusalCode } from '../authentication.js';
import { CodeRequiredError, CodeWrongError, SignInLockedError, SignInRefusedError } from '../identity.errors.js';
import { PasswordWork } from '../passwords/password-work.js';
import { withProvenPassword } from '../passwords/proven-password.js';
import { Refusals } from '../refusals.js';

export interface Credentials {
  readonly email: string;
  readonly password: string;
  /** Six digits of an authenticator app, or a backup code. */
  readonly code?: string | undefined;
  /** The caller's network address. */
  readonly address: string;
}

/** `known`: whether this person has signed in from there before. */
type KnownCredentials = Credentials & { readonly known: boolean };

/** A person who has shown who they are, with a session that serves nothing yet. */
export interface SignedIn {
  readonly userId: string;
  readonly token: string;
}

/** A sign-in's outcome as a value: what counts refusals must be committed, so it cannot be thrown through. */
export type SignInOutcome<T> =
  | { readonly kind: 'signed-in'; readonly value: T }
  | { readonly kind: 'refused' }
  | { readonly kind: 'code-required' }
  | { readonly kind: 'code-wrong' }
  | { readonly kind: 'locked'; readonly seconds: number };

type Refusal = Exclude<SignInOutcome<never>, { kind: 'signed-in' }>;

/** The error that an outcome means, for the caller to throw. */
export function refusalOf(outcome: Refusal): Error {
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

/** The cookies that better-auth sets, as a header that gives them back to it. */
export const cookiesOf = (headers: Headers): string =>
  headers
    .getSetCookie()
    .map((cookie) => cookie.split(';')[0] ?? '')
    .filter((cookie) => !cookie.endsWith('='))
    .join('; ');

/**
 * Signing in: the try is counted, the password is checked outside of any transaction, and what follows from it is one
 * transaction with the session.
 */
@Injectable()
export class SignIn {
  constructor(
    private readonly work: UnitOfWork,
    private readonly library: AuthenticationLibrary,
    private readonly passwords: PasswordWork,
    private readonly refusals: Refusals,
  ) {}

  /**
   * Checks a password and, where there is one, the second factor. `open` runs in the transaction of the new session,
   * which serves nothing before it is dedicated there.
   *
   * @throws PasswordsBusyError, and what `open` throws: the session is not made then.
   */
  async attempt<T>(
    given: Credentials,
    open: (tx: ProviderTransaction, signedIn: SignedIn) => Promise<T>,
  ): Promise<SignInOutcome<T>> {
    const [email, source] = [given.email.toLowerCase(), sourceOf(given.address)];
    const { applicant, seconds } = await beforeTheChange(() =>
      this.work.provider(async (tx) => {
        const found = await this.refusals.applicant(tx, email, source);
        return { applicant: found, seconds: await this.refusals.take(tx, email, source, found.known) };
      }),
    );
    if (seconds > 0) return { kind: 'locked', seconds };
    const hash = applicant.passwordHash;
    const takeBack = (): Promise<void> =>
      beforeTheChange(() => this.work.provider((tx) => this.refusals.release(tx, email, source)));
    try {
      const fits = await this.passwords.verify(hash, given.password, applicant.known ? 'first' : 'later');
      if (!fits || hash === undefined) return { kind: 'refused' };
      const outcome = await this.work.provider(async (tx) => {
        // A new password waits for this sign-in, or this one sees it: see Identity.setPassword.
        await tx.query(`SELECT FROM auth.account WHERE "userId" = $1 FOR SHARE`, [applicant.userId]);
        const proven = { hash, password: given.password };
        const { known } = applicant;
        const signIn = await withProvenPassword(proven, () => this.authenticate(tx, { ...given, email, known }));
        if (signIn.kind !== 'signed-in') return signIn;
        await this.refusals.release(tx, email, source);
        await this.refusals.know(tx, signIn.value.userId, email, source);
        return { kind: 'signed-in' as const, value: await open(tx, signIn.value) };
      });
      // A code that was not asked for, or not looked at, is no refusal.
      if (outcome.kind === 'code-required' || outcome.kind === 'locked') await takeBack();
      return outcome;
    } catch (error) {
      await takeBack();
      throw error;
    }
  }

  private authenticate(tx: ProviderTransaction, given: KnownCredentials): Promise<SignInOutcome<SignedIn>> {
    return insideTransaction(tx, async () => {
      try {
        const { api } = await this.library.get();
        const { response, headers } = await api.signInEmail({
          body: { email: given.email, password: given.password },
          headers: new Headers(),
          returnHeaders: true,
        });
        if (!('twoFactorRedirect' in response)) {
          return { kind: 'signed-in', value: { userId: response.user.id, token: response.token } };
        }
        if (given.code === undefined) return { kind: 'code-required' };
        const seconds = given.known ? 0 : await this.refusals.takeGuess(tx, 'code', given.email);
        if (seconds > 0) return { kind: 'locked', seconds };
        const outcome = await this.secondFactor(tx, given.code, new Headers({ cookie: cookiesOf(headers) }));
        if (outcome.kind === 'signed-in' && !given.known) await this.refusals.releaseGuess(tx, 'code', given.email);
        return outcome;
      } catch (error) {
        if (refusalCode(error) !== undefined) return { kind: 'refused' };
        throw error;
      }
    });
  }

  private async secondFactor(
    tx: ProviderTransaction,
    code: string,
    headers: Headers,
  ): Promise<SignInOutcome<SignedIn>> {
    const { api } = await this.library.get();
    const byApp = /^\d{6}$/.test(code);
    try {
      const answer = byApp
        ? await api.verifyTOTP({ body: { code }, headers })
        : await api.verifyBackupCode({ body: { code }, headers });
      if (!answer.token) return { kind: 'code-wrong' };
      if (byApp && !(await this.refusals.useCode(tx, answer.user.id, code))) {
        await tx.execute(`DELETE FROM auth.session WHERE token = $1`, [answer.token]);
        return { kind: 'code-wrong' };
      }
      return { kind: 'signed-in', value: { userId: answer.user.id, token: answer.token } };
    } catch (error) {
      if (refusalCode(error) !== undefined) return { kind: 'code-wrong' };
      throw error;
    }
  }
}

import { Injectable } from '@nestjs/common';
import { beforeTheChange, type ProviderTransaction, UnitOfWork } from '#libs/platform/database';
import { insideTransaction } from '../auth-database.js';
import { type Authentication, AuthenticationLibrary, refusalCode } from '../authentication.js';
import { CodeWrongError, SignInLockedError, SignInRefusedError, TwoFactorStateError } from '../identity.errors.js';
import { type ClientSession, Identity, type SessionPurpose } from '../identity.service.js';
import { PasswordWork } from '../passwords/password-work.js';
import { type ProvenPassword, withProvenPassword } from '../passwords/proven-password.js';
import { Refusals } from '../refusals.js';
import { SessionTokens } from './session-token.js';
import { cookiesOf } from './sign-in.js';

const SESSION_COOKIE_OF_LIBRARY = 'better-auth.session_token';

/** Authenticator apps, of members and of staff alike: set up, confirmed and taken away by who holds the session. */
@Injectable()
export class TwoFactor {
  constructor(
    private readonly work: UnitOfWork,
    private readonly library: AuthenticationLibrary,
    private readonly identity: Identity,
    private readonly tokens: SessionTokens,
    private readonly passwords: PasswordWork,
    private readonly refusals: Refusals,
  ) {}

  /**
   * Checks the password of the person whose session this is, outside of any transaction. Wrong ones are counted: whoever
   * has got hold of a session alone must not find the password by it.
   *
   * @throws SignInRefusedError when it is wrong, SignInLockedError, PasswordsBusyError
   */
  async prove(token: string, password: string): Promise<ProvenPassword> {
    const { person, seconds } = await beforeTheChange(() =>
      this.work.provider(async (tx) => {
        const [row] = await tx.query<{ email: string; hash: string }>(
          `SELECT u.email, a.password AS hash FROM auth.session s JOIN auth."user" u ON u.id = s."userId"
             JOIN auth.account a ON a."userId" = s."userId" AND a."providerId" = 'credential'
            WHERE s.token = $1 AND a.password IS NOT NULL`,
          [token],
        );
        return { person: row, seconds: row ? await this.refusals.takeGuess(tx, 'password', row.email) : 0 };
      }),
    );
    if (!person) throw new SignInRefusedError();
    if (seconds > 0) throw new SignInLockedError(seconds);
    const takeBack = (): Promise<void> =>
      beforeTheChange(() => this.work.provider((tx) => this.refusals.releaseGuess(tx, 'password', person.email)));
    const fits = await this.passwords.verify(person.hash, password, 'first').catch(async (error: unknown) => {
      await takeBack();
      throw error;
    });
    if (!fits) throw new SignInRefusedError();
    await takeBack();
    return { hash: person.hash, password };
  }

  /**
   * Begins the set-up of an authenticator app; it counts only once {@link confirm} has seen a code.
   *
   * @throws TwoFactorStateError when there is one already.
   */
  begin(
    tx: ProviderTransaction,
    token: string,
    proven: ProvenPassword,
  ): Promise<{ uri: string; backupCodes: string[] }> {
    return this.asLibrary(tx, proven, async ({ api }) => {
      const answer = await api.enableTwoFactor({
        body: { password: proven.password, method: 'totp' },
        headers: this.asCookie(token),
      });
      if (answer.method !== 'totp') throw new Error('better-auth answered another method');
      return { uri: answer.totpURI, backupCodes: answer.backupCodes };
    });
  }

  /**
   * Ends the set-up with a first code. The session is replaced: the answer is what the client holds from now on.
   *
   * @throws CodeWrongError, TwoFactorStateError
   */
  async confirm(tx: ProviderTransaction, token: string, code: string): Promise<ClientSession> {
    const [session] = await tx.query<{ userId: string }>(`SELECT "userId" FROM auth.session WHERE token = $1`, [token]);
    const renewed = await this.replaceSession(tx, token, undefined, ({ api }) =>
      api.verifyTOTP({ body: { code }, headers: this.asCookie(token), returnHeaders: true }),
    );
    if (!session || !(await this.refusals.useCode(tx, session.userId, code))) throw new CodeWrongError();
    // A session that was opened without the second factor must not pass for one that was opened with it.
    await tx.execute(`DELETE FROM auth.session WHERE "userId" = $1 AND token <> $2`, [
      session.userId,
      this.tokens.verify(renewed.token),
    ]);
    return renewed;
  }

  /** Takes the second factor away. The session is replaced. @throws TwoFactorStateError */
  end(tx: ProviderTransaction, token: string, proven: ProvenPassword): Promise<ClientSession> {
    return this.replaceSession(tx, token, proven, ({ api }) =>
      api.disableTwoFactor({
        body: { password: proven.password },
        headers: this.asCookie(token),
        returnHeaders: true,
      }),
    );
  }

  /** For somebody who has lost the app and the backup codes: takes it away and ends the person's sessions. */
  async reset(tx: ProviderTransaction, userId: string): Promise<void> {
    await tx.execute(`DELETE FROM auth."twoFactor" WHERE "userId" = $1`, [userId]);
    await tx.execute(`UPDATE auth."user" SET "twoFactorEnabled" = false WHERE id = $1`, [userId]);
    await tx.execute(`DELETE FROM auth.session WHERE "userId" = $1`, [userId]);
  }

  private async replaceSession(
    tx: ProviderTransaction,
    token: string,
    proven: ProvenPassword | undefined,
    change: (library: Authentication) => Promise<{ headers: Headers }>,
  ): Promise<ClientSession> {
    const [old] = await tx.query<{ audience: 'member' | 'staff'; tenantId: string | null }>(
      `SELECT "audience", "tenantId" FROM auth.session WHERE token = $1`,
      [token],
    );
    if (!old) throw new SignInRefusedError();
    const fresh = await this.asLibrary(tx, proven, async (library) => {
      const { headers } = await change(library);
      const cookie = new RegExp(`${SESSION_COOKIE_OF_LIBRARY}=([^;]+)`).exec(cookiesOf(headers))?.[1];
      return cookie === undefined ? undefined : this.tokens.verify(decodeURIComponent(cookie));
    });
    if (fresh === undefined) throw new TwoFactorStateError('There is nothing to confirm: begin the set-up first.');
    const purpose: SessionPurpose =
      old.audience === 'member' && old.tenantId
        ? { audience: 'member', tenantId: old.tenantId }
        : { audience: 'staff' };
    return this.identity.dedicate(tx, fresh, purpose);
  }

  private asLibrary<T>(
    tx: ProviderTransaction,
    proven: ProvenPassword | undefined,
    work: (library: Authentication) => Promise<T>,
  ): Promise<T> {
    const inside = (): Promise<T> =>
      insideTransaction(tx, async () => {
        try {
          return await work(await this.library.get());
        } catch (error) {
          throw meaningOf(error);
        }
      });
    return proven === undefined ? inside() : withProvenPassword(proven, inside);
  }

  private asCookie(token: string): Headers {
    return new Headers({ cookie: `${SESSION_COOKIE_OF_LIBRARY}=${encodeURIComponent(this.tokens.sign(token))}` });
  }
}

function meaningOf(error: unknown): unknown {
  const code = refusalCode(error);
  if (code === undefined) return error;
  if (code === 'INVALID_PASSWORD') return new SignInRefusedError();
  if (code === 'INVALID_CODE') return new CodeWrongError();
  if (code === 'TOTP_ALREADY_ENABLED') return new TwoFactorStateError('An authenticator app is set up already.');
  return new TwoFactorStateError('There is no authenticator app to confirm or remove here.');
}

import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { OpenTransactionDialect } from './auth-database.js';
import { PROVEN_PASSWORDS } from './passwords/proven-password.js';

/** A session ends after so long, used or not: a working day and its night. */
export const SESSION_SECONDS = 12 * 3_600;

export const MIN_PASSWORD = 12;
export const MAX_PASSWORD = 200;

/**
 * better-auth as a library: passwords, two factors and the issuing of sessions. Its routes are not mounted, so its
 * Origin check and limits do not apply: those are ours (libs/platform/http).
 *
 * It is loaded when it is first wanted: it is a fifth of the api's start, and the worker never wants it.
 */
async function createAuthentication(secret: string, publicUrl: string) {
  const [{ betterAuth }, { twoFactor }] = await Promise.all([
    import('better-auth'),
    import('better-auth/plugins/two-factor'),
  ]);
  return betterAuth({
    appName: 'Mainstay',
    secret,
    baseURL: publicUrl,
    database: { dialect: new OpenTransactionDialect(), type: 'postgres', schemaName: 'auth', transaction: true },
    emailAndPassword: {
      enabled: true,
      disableSignUp: true,
      requireEmailVerification: true,
      minPasswordLength: MIN_PASSWORD,
      maxPasswordLength: MAX_PASSWORD,
      password: PROVEN_PASSWORDS,
    },
    session: { expiresIn: SESSION_SECONDS },
    advanced: {
      database: { generateId: 'uuid' },
      // The names of its cookies are its own business: none of them ever leaves this process.
      useSecureCookies: false,
      disableOriginCheck: false,
      disableCSRFCheck: false,
    },
    // Its own lock would hold up everybody for a stranger's wrong codes: Refusals counts those, of strangers alone.
    plugins: [twoFactor({ issuer: 'Mainstay', accountLockout: { enabled: false } })],
    logger: { disabled: true },
    telemetry: { enabled: false },
  });
}

export type Authentication = Awaited<ReturnType<typeof createAuthentication>>;

/** better-auth, once: made in the background as soon as the process serves, or by the first who asks. */
@Injectable()
export class AuthenticationLibrary implements OnApplicationBootstrap {
  private made: Promise<Authentication> | undefined;

  constructor(
    private readonly secret: string,
    private readonly publicUrl: string,
  ) {}

  get(): Promise<Authentication> {
    return (this.made ??= createAuthentication(this.secret, this.publicUrl));
  }

  onApplicationBootstrap(): void {
    // Whoever asks gets the failure, if there is one; here it only must not end the process.
    setImmediate(() => this.get().catch(() => undefined));
  }
}

/** A refusal by better-auth, as opposed to a fault of ours or of the database. */
export function refusalCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== 'APIError' || !('body' in error)) return undefined;
  const { body } = error;
  return typeof body === 'object' && body !== null && 'code' in body ? String(body.code) : 'UNKNOWN';
}

import { betterAuth } from 'better-auth';
import { twoFactor } from 'better-auth/plugins/two-factor';
import { OpenTransactionDialect } from './auth-database.js';
import { hashPassword, verifyPassword } from './password.js';

/** A session ends after so long, used or not: a working day and its night. */
export const SESSION_SECONDS = 12 * 3_600;

export const MIN_PASSWORD = 12;
export const MAX_PASSWORD = 200;

/**
 * better-auth as a library: passwords, two factors and the issuing of sessions. Its routes are not mounted, so its
 * Origin check and limits do not apply: those are ours (libs/platform/http).
 */
export function createAuthentication(secret: string, publicUrl: string) {
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
      password: { hash: hashPassword, verify: ({ hash, password }) => verifyPassword(hash, password) },
    },
    session: { expiresIn: SESSION_SECONDS },
    advanced: {
      database: { generateId: 'uuid' },
      // The names of its cookies are its own business: none of them ever leaves this process.
      useSecureCookies: false,
      disableOriginCheck: false,
      disableCSRFCheck: false,
    },
    plugins: [twoFactor({ issuer: 'Mainstay' })],
    logger: { disabled: true },
    telemetry: { enabled: false },
  });
}

export type Authentication = ReturnType<typeof createAuthentication>;

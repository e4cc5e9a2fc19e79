import { createHash, randomBytes } from 'node:crypto';

/** A secret that is shown or mailed once; only its hash is kept. */
export interface OneTimeToken {
  readonly token: string;
  readonly hash: Buffer;
}

/** SHA-256 is enough for 256 random bits: there is nothing to guess. */
export const hashToken = (token: string): Buffer => createHash('sha256').update(token).digest();

export function makeToken(): OneTimeToken {
  const token = randomBytes(32).toString('base64url');
  return { token, hash: hashToken(token) };
}

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';

/** What canonical JSON can hold: no undefined, no dates, no non-finite numbers. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * The one text of a value: keys sorted by code unit, no white space, as in RFC 8785 for the values that we sign
 * (integers, strings, booleans, null). Fields that are undefined are left out.
 *
 * @throws TypeError for what JSON cannot say.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError('a number that is not finite cannot be signed');
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value instanceof Date) throw new TypeError('only plain JSON values can be signed');
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${canonicalJson(entry)}`).join(',')}}`;
}

type Key = KeyObject | string;
const privateKeyOf = (key: Key): KeyObject => (typeof key === 'string' ? createPrivateKey(key) : key);
const publicKeyOf = (key: Key): KeyObject => (typeof key === 'string' ? createPublicKey(key) : key);

/** Ed25519 over the canonical JSON of `value`, base64url. `key` is a private key, or its PEM. */
export function signDocument(value: unknown, key: Key): string {
  return sign(null, Buffer.from(canonicalJson(value)), privateKeyOf(key)).toString('base64url');
}

/** Whether `signature` was made over `value` by the owner of `key` (a public key, or its SPKI PEM). */
export function verifyDocument(value: unknown, signature: string, key: Key): boolean {
  return verify(null, Buffer.from(canonicalJson(value)), publicKeyOf(key), Buffer.from(signature, 'base64url'));
}

/** Signs raw bytes, for what is bound to a connection rather than a document. */
export function signBytes(bytes: Buffer, key: Key): string {
  return sign(null, bytes, privateKeyOf(key)).toString('base64url');
}

export function verifyBytes(bytes: Buffer, signature: string, key: Key): boolean {
  return verify(null, bytes, publicKeyOf(key), Buffer.from(signature, 'base64url'));
}

export interface KeyPairText {
  /** PKCS #8, PEM. A secret. */
  readonly privateKey: string;
  /** SPKI, PEM. */
  readonly publicKey: string;
}

/** A new Ed25519 key pair. */
export function createKeyPair(): KeyPairText {
  return generateKeyPairSync('ed25519', {
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
}

/** The public half of a private key's PEM, as SPKI PEM. */
export function publicKeyText(privateKey: string): string {
  return createPublicKey(createPrivateKey(privateKey)).export({ type: 'spki', format: 'pem' }).toString();
}

/** SHA-256 of a public key's DER, 64 hexadecimal digits. */
export function keyFingerprint(publicKey: string): string {
  return createHash('sha256')
    .update(createPublicKey(publicKey).export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

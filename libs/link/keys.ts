import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { open } from 'node:fs/promises';
import { canonicalJson } from './canonical-json.js';
import { KeyFileExposedError, KeyUnusableError } from './errors.js';

/** Who one end of a link is: an Ed25519 key pair, the private half of which never leaves the machine that made it. */
export interface LinkIdentity {
  readonly privateKey: KeyObject;
  /** SPKI, PEM. */
  readonly publicKey: string;
  /** SHA-256 of the public key's DER form, 64 hexadecimal digits. */
  readonly fingerprint: string;
}

export function createIdentity(): LinkIdentity {
  return identityOf(generateKeyPairSync('ed25519').privateKey);
}

/** @throws KeyUnusableError unless the text is an Ed25519 private key in PEM (PKCS #8). */
export function identityFromPem(pem: string): LinkIdentity {
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(pem);
  } catch (cause) {
    throw new KeyUnusableError('it is not a private key in PEM', cause);
  }
  return identityOf(privateKey);
}

export interface KeyPairText {
  /** PKCS #8, PEM. A secret. */
  readonly privateKey: string;
  /** SPKI, PEM. */
  readonly publicKey: string;
}

/** A new Ed25519 key pair as text. */
export function createKeyPair(): KeyPairText {
  const { privateKey, publicKey } = createIdentity();
  return { privateKey: privateKeyText(privateKey), publicKey };
}

/** The public half (SPKI, PEM) of a private key in PEM. */
export function publicKeyText(privateKey: string): string {
  return identityFromPem(privateKey).publicKey;
}

function privateKeyText(privateKey: KeyObject): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function identityOf(privateKey: KeyObject): LinkIdentity {
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new KeyUnusableError('it is not an Ed25519 key');
  const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString();
  return { privateKey, publicKey, fingerprint: keyFingerprint(publicKey) };
}

/** SHA-256 of the public key's DER form, 64 hexadecimal digits. */
export function keyFingerprint(publicKey: string | KeyObject): string {
  const key = publicKey instanceof KeyObject ? publicKey : createPublicKey(publicKey);
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

/** Writes a new key, readable by its owner alone; on disk when this returns. Rejects with EEXIST over an old one. */
export async function createKeyFile(path: string): Promise<LinkIdentity> {
  const identity = createIdentity();
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(privateKeyText(identity.privateKey));
    await file.sync();
  } finally {
    await file.close();
  }
  return identity;
}

/** @throws KeyFileExposedError when others than its owner may read the file; KeyUnusableError; ENOENT. */
export async function loadKeyFile(path: string): Promise<LinkIdentity> {
  const file = await open(path, 'r');
  try {
    const { mode } = await file.stat();
    if ((mode & 0o077) !== 0) throw new KeyFileExposedError(path);
    return identityFromPem(await file.readFile('utf8'));
  } finally {
    await file.close();
  }
}

export async function loadOrCreateKeyFile(path: string): Promise<LinkIdentity> {
  try {
    return await createKeyFile(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return loadKeyFile(path);
    throw error;
  }
}

/** Ed25519 over the canonical JSON of the value, base64url. The key is a private key, or its PEM. */
export function signDocument(value: unknown, privateKey: KeyObject | string): string {
  return signBytes(Buffer.from(canonicalJson(value)), privateKey);
}

/** Whether the signature is that key's, of exactly this value. False, never an error, for a key or text that is none. */
export function verifyDocument(value: unknown, signature: string, publicKey: KeyObject | string): boolean {
  return verifyBytes(Buffer.from(canonicalJson(value)), signature, publicKey);
}

/** Signs raw bytes, for what is bound to a connection rather than a document. */
export function signBytes(bytes: Buffer, privateKey: KeyObject | string): string {
  return sign(null, bytes, privateKey).toString('base64url');
}

export function verifyBytes(bytes: Buffer, signature: string, publicKey: KeyObject | string): boolean {
  try {
    const key = publicKey instanceof KeyObject ? publicKey : createPublicKey(publicKey);
    return key.asymmetricKeyType === 'ed25519' && verify(null, bytes, key, Buffer.from(signature, 'base64url'));
  } catch {
    // What cannot be read as a key has signed nothing.
    return false;
  }
}

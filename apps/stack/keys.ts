import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import {
  type CertificateText,
  certificateFingerprint,
  createAuthority,
  createKeyPair,
  issueCertificate,
  publicKeyText,
} from '#libs/link';
import { ifPresent } from '#libs/platform/errors';
import { type Installation, SITE_KEYS, type SiteKey } from './installation.js';

export interface KeyFiles {
  readonly privateKeyFile: string;
  readonly publicKeyFile: string;
  readonly publicKey: string;
}

export interface CertificateFiles {
  readonly certificateFile: string;
  readonly privateKeyFile: string;
  readonly fingerprint: string;
}

export interface SiteKeys {
  /** Ed25519, with which the site signs its hello to another site. */
  readonly identity: KeyFiles;
  /** The endpoint that takes orders. */
  readonly orders: CertificateFiles;
  /** The gateway that agents pin. */
  readonly gateway: CertificateFiles;
}

/** Every key of an installation, as files of mode 0600 in its folder of secrets. */
export interface StackKeys {
  readonly authorityFile: string;
  readonly control: CertificateFiles;
  readonly orderSigning: KeyFiles;
  readonly sessionSecretFile: string;
  readonly sites: Readonly<Record<SiteKey, SiteKeys>>;
}

/** Reads a secret file, or makes it: a crash leaves none or a whole one. */
async function ensureText(
  installation: Installation,
  name: string,
  make: () => Promise<string> | string,
): Promise<string> {
  const present = await ifPresent(readFile(installation.secretFile(name), 'utf8'));
  if (present !== undefined) return present;
  const text = await make();
  await installation.writeSecret(name, text);
  return text;
}

async function ensureKeyPair(installation: Installation, name: string): Promise<KeyFiles> {
  const privateKey = await ensureText(installation, `${name}.key`, () => createKeyPair().privateKey);
  const publicKey = publicKeyText(privateKey);
  await ensureText(installation, `${name}.pub`, () => publicKey);
  return {
    privateKeyFile: installation.secretFile(`${name}.key`),
    publicKeyFile: installation.secretFile(`${name}.pub`),
    publicKey,
  };
}

/** Key and certificate are made together: they are kept in one file first, and split from it. */
async function ensureCertificate(
  installation: Installation,
  name: string,
  make: () => Promise<CertificateText>,
): Promise<CertificateFiles & CertificateText> {
  const pair = JSON.parse(
    await ensureText(installation, `${name}.pair`, async () => JSON.stringify(await make())),
  ) as CertificateText;
  await ensureText(installation, `${name}.crt`, () => pair.certificate);
  await ensureText(installation, `${name}.crt.key`, () => pair.privateKey);
  return {
    ...pair,
    certificateFile: installation.secretFile(`${name}.crt`),
    privateKeyFile: installation.secretFile(`${name}.crt.key`),
    fingerprint: certificateFingerprint(pair.certificate),
  };
}

export async function ensureKeys(installation: Installation): Promise<StackKeys> {
  const authority = await ensureCertificate(installation, 'authority', () => createAuthority('Mainstay installation'));
  const issue = (name: string, usages: readonly ('server' | 'client')[]): Promise<CertificateFiles> =>
    ensureCertificate(installation, name, () =>
      issueCertificate(authority, { commonName: name, dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'], usages }),
    );
  const site = async (key: SiteKey): Promise<[SiteKey, SiteKeys]> => [
    key,
    {
      identity: await ensureKeyPair(installation, `site-${key}`),
      orders: await issue(`orders-${key}`, ['server']),
      gateway: await issue(`gateway-${key}`, ['server']),
    },
  ];
  await ensureText(installation, 'session.secret', () => randomBytes(32).toString('base64url'));
  return {
    authorityFile: authority.certificateFile,
    control: await issue('control', ['client']),
    orderSigning: await ensureKeyPair(installation, 'order-signing'),
    sessionSecretFile: installation.secretFile('session.secret'),
    sites: Object.fromEntries(await Promise.all(SITE_KEYS.map(site))) as Record<SiteKey, SiteKeys>,
  };
}

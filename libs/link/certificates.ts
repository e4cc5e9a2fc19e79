import { webcrypto, X509Certificate } from 'node:crypto';
import type * as X509 from '@peculiar/x509';

type Key = webcrypto.CryptoKey;
type KeyPair = webcrypto.CryptoKeyPair;

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY = 86_400_000;
const YEAR = 365.25 * DAY;

/** A certificate and its private key (PKCS #8), both PEM. */
export interface CertificateText {
  readonly certificate: string;
  readonly privateKey: string;
}

export interface CertificateRequest {
  readonly commonName: string;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly usages: readonly ('server' | 'client')[];
  /** 5 years when left out. */
  readonly years?: number;
}

/** A certificate authority of the provider's own, ECDSA P-256. */
export async function createAuthority(commonName: string, years = 20): Promise<CertificateText> {
  const x509 = await loadX509();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [commonName] }],
    ...validity(years),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return asText(certificate, keys.privateKey);
}

/** A server's or client's certificate, signed by the authority. RFC 6125 wants its names as alternative names. */
export async function issueCertificate(
  authority: CertificateText,
  request: CertificateRequest,
): Promise<CertificateText> {
  const x509 = await loadX509();
  const keys = await newKeys();
  const issuer = new x509.X509Certificate(authority.certificate);
  const names = [
    ...(request.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(request.ipAddresses ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const purposes = { server: x509.ExtendedKeyUsage.serverAuth, client: x509.ExtendedKeyUsage.clientAuth };
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [request.commonName] }],
    issuer: issuer.subject,
    ...validity(request.years ?? 5),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await signingKey(authority.privateKey),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(request.usages.map((usage) => purposes[usage])),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return asText(certificate, keys.privateKey);
}

/** SHA-256 of a certificate's DER form, 64 hexadecimal digits, from PEM or DER: what the other end pins. */
export function certificateFingerprint(certificate: string | Buffer): string {
  return plainFingerprint(new X509Certificate(certificate).fingerprint256);
}

/** Node writes fingerprints as `AB:CD:…`. */
export function plainFingerprint(text: string): string {
  return text.replaceAll(':', '').toLowerCase();
}

/** Loaded only where certificates are made: an agent and a gateway never do, and it costs them time and memory. */
async function loadX509(): Promise<typeof X509> {
  // It needs the Reflect polyfill before it is loaded.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  return x509;
}

function validity(years: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  // From a day ago: the clock of whoever checks it may be behind.
  return { notBefore: new Date(now - DAY), notAfter: new Date(now + years * YEAR) };
}

async function newKeys(): Promise<KeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function signingKey(pem: string): Promise<Key> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign']);
}

async function asText(certificate: X509.X509Certificate, privateKey: Key): Promise<CertificateText> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey));
  const body = der.toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  return {
    certificate: `${certificate.toString('pem').trimEnd()}\n`,
    privateKey: `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`,
  };
}

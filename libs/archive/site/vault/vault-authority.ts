import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { isIP } from 'node:net';
import path from 'node:path';
import { type CertificateText, createAuthority, issueCertificate } from '#libs/link';
import { errorCode, ifPresent } from '#libs/platform/errors';

/**
 * What is in a file that only this process's user reads; made, whole or not at all, where there is none. Of two processes
 * that make it at once, one wins and both have the same.
 */
export async function keptSecret(file: string, make: () => Promise<Buffer>): Promise<Buffer> {
  const present = await ifPresent(readFile(file));
  if (present) return present;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const fresh = `${file}.${randomUUID()}`;
  const handle = await open(fresh, 'wx', 0o600);
  try {
    await handle.writeFile(await make());
    await handle.sync();
    await link(fresh, file).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error;
    });
  } finally {
    await handle.close();
    await unlink(fresh);
  }
  const folder = await open(path.dirname(file), 'r');
  await folder.sync().finally(() => folder.close());
  return readFile(file);
}

/** PEM of an authority of the vault's own and of a certificate that it signed for these names; new at each start. */
export interface VaultCertificates {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** @param hosts names or addresses by which agents reach the vault; this machine itself is always among them. */
export async function vaultCertificates(directory: string, hosts: readonly string[]): Promise<VaultCertificates> {
  const made = async () => Buffer.from(JSON.stringify(await createAuthority('Mainstay vault')));
  const text = await keptSecret(path.join(directory, 'vault-authority.json'), made);
  const authority = JSON.parse(text.toString()) as CertificateText;
  const names = new Set([...hosts.map((host) => host.replace(/^\[|\]$/g, '')), '127.0.0.1']);
  const issued = await issueCertificate(authority, {
    commonName: 'Mainstay vault',
    dnsNames: [...names].filter((name) => isIP(name) === 0),
    ipAddresses: [...names].filter((name) => isIP(name) !== 0),
    usages: ['server'],
  });
  return { authority: authority.certificate, certificate: issued.certificate, key: issued.privateKey };
}

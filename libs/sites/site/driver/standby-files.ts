import { stat } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import { keptDirectory, readPlainIfPresent, type ServerIdentity } from '#libs/platform/postgres';
import type { ServerCertificate } from './driver.js';
import { replaceFile } from './standby-state.js';

const STANDBY_SIGNAL = 'standby.signal';

/**
 * Writes certificate and key for the standby's user. They are one file, since a server does not start with the certificate
 * of the one and the key of the other.
 */
export async function writeCertificate(
  file: string,
  { certificate, key }: ServerCertificate,
  owner: ServerIdentity,
): Promise<void> {
  await keptDirectory(path.dirname(file), owner);
  await replaceFile(file, `${certificate}${key}`, owner);
}

/** Without the key; undefined when there is none. */
export async function readCertificate(file: string): Promise<string | undefined> {
  const text = (await readPlainIfPresent(file))?.toString('utf8') ?? '';
  return /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/.exec(text)?.[0];
}

/** False once the server has been promoted. */
export async function isMarkedStandby(dataDirectory: string): Promise<boolean> {
  return (await ifPresent(stat(path.join(dataDirectory, STANDBY_SIGNAL)))) !== undefined;
}

/** The signal file that makes a server start as a standby; PostgreSQL removes it when it is promoted. */
export async function markStandby(dataDirectory: string, owner: ServerIdentity): Promise<void> {
  await replaceFile(path.join(dataDirectory, STANDBY_SIGNAL), '', owner);
}

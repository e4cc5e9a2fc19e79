import { stat } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import { keptDirectory, type ServerIdentity } from '#libs/platform/postgres';
import { replaceFile } from './standby-state.js';

const STANDBY_SIGNAL = 'standby.signal';

/** Writes TLS files for the standby's user. */
export async function writeTls(
  directory: string,
  tls: { certificate: string; key: string },
  owner: ServerIdentity,
): Promise<void> {
  await keptDirectory(directory, owner);
  await replaceFile(path.join(directory, 'server.crt'), tls.certificate, owner);
  await replaceFile(path.join(directory, 'server.key'), tls.key, owner);
}

/** False once the server has been promoted. */
export async function isMarkedStandby(dataDirectory: string): Promise<boolean> {
  return (await ifPresent(stat(path.join(dataDirectory, STANDBY_SIGNAL)))) !== undefined;
}

/** The signal file that makes a server start as a standby; PostgreSQL removes it when it is promoted. */
export async function markStandby(dataDirectory: string, owner: ServerIdentity): Promise<void> {
  await replaceFile(path.join(dataDirectory, STANDBY_SIGNAL), '', owner);
}

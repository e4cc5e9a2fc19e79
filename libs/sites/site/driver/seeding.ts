import { rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { errorCode } from '#libs/platform/errors';
import { keptDirectory, ownedDirectory } from '#libs/platform/postgres';
import { BackupReceiver, type BackupSession, type BackupTransport } from '#libs/platform/postgres/backup';
import { directoryUsage } from '#libs/sites/site/volume';
import type { SeedOptions } from './driver.js';
import { DiskFullError, SiteHostError } from './errors.js';
import type { ManagedStandby, StandbyPolicy } from './managed-standby.js';
import { markStandby } from './standby-files.js';

/** Left free beside the copy: for the WAL that arrives meanwhile. */
export const SEED_RESERVE_BYTES = 512 * 1024 * 1024;

/**
 * Copies the source's data into the standby's folder and configures it. The order makes a crash at any point harmless:
 * not seeded → copy whole → settings and standby.signal → seeded → the copy's receipt goes.
 */
export async function seedStandby(
  prepared: ManagedStandby,
  source: BackupTransport,
  options: SeedOptions,
  { durable, seedReserveBytes }: Pick<StandbyPolicy, 'durable' | 'seedReserveBytes'>,
): Promise<BackupSession> {
  await prepared.stop();
  const standby = await prepared.with({ seeded: false, follow: null });
  const { paths } = standby;
  await standby.secure();
  await rm(paths.passfile, { force: true });
  const { label, bandwidthBytesPerSecond, signal, onProgress } = options;
  const receiver = new BackupReceiver({
    transport: checkedSource(standby, source, seedReserveBytes),
    directory: paths.data,
    owner: standby.identity,
    stateDirectory: paths.receipt,
    label,
    tablespaceDirectory: async ({ oid }) => {
      await keptDirectory(paths.tablespaces, standby.identity);
      return ownedDirectory(path.join(paths.tablespaces, String(oid)), standby.identity);
    },
    sync: durable,
    ...(bandwidthBytesPerSecond === undefined ? {} : { bandwidthBytesPerSecond }),
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  const session = await receiver.receive().catch((error: unknown) => {
    if (errorCode(error) === 'ENOSPC') throw new DiskFullError(undefined, undefined, { cause: error });
    throw error;
  });
  const { superuser, systemIdentifier } = session;
  const whole = await standby.with({ superuser, systemIdentifier });
  await whole.writeConfiguration();
  await markStandby(paths.data, standby.identity);
  await whole.with({ seeded: true });
  await receiver.forget();
  return session;
}

/** Asks before the first byte is copied whether this can become a standby here. */
function checkedSource(standby: ManagedStandby, source: BackupTransport, reserve: number): BackupTransport {
  const expected = standby.state.majorVersion;
  let checked = false;
  return {
    begin: async (request, signal) => {
      const session = await source.begin(request, signal);
      if (session.majorVersion === expected) return session;
      throw new SiteHostError(
        `The source runs PostgreSQL ${session.majorVersion}, and this standby was prepared for ${expected}. ` +
          'Prepare it for the new version.',
      );
    },
    manifest: async (request, signal) => {
      const page = await source.manifest(request, signal);
      if (!checked) await checkSpace(standby, page.totalBytes + reserve);
      checked = true;
      return page;
    },
    hashes: (request, signal) => source.hashes(request, signal),
    read: (request, signal) => source.read(request, signal),
    finish: (request, signal) => source.finish(request, signal),
    end: (request, signal) => source.end(request, signal),
  };
}

async function checkSpace(standby: ManagedStandby, bytes: number): Promise<void> {
  const folder = path.dirname(standby.paths.data);
  const { bavail, bsize } = await statfs(folder);
  const available = bavail * bsize + (await directoryUsage(folder));
  if (bytes > available) throw new DiskFullError(bytes, available);
}

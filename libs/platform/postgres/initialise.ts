import { mkdtemp, rename, rm, rmdir } from 'node:fs/promises';
import { platform } from 'node:os';
import path from 'node:path';
import { ifPresent } from '../errors/index.js';
import type { PostgresInstallation } from './binaries.js';
import { PostgresServerError } from './errors.js';
import { chownTo, ownedDirectory, type ServerIdentity } from './identity.js';
import { readPlainIfPresent, withDirectory } from './open-directory.js';
import { runTool } from './tool.js';

export interface InitialiseOptions {
  /** The bootstrap superuser's name; `postgres` when left out. */
  readonly superuser?: string;
  /** Reaches initdb by a file of mode 0600 that is removed again. Without it, nobody signs in by password. */
  readonly password?: string;
  /** How clients sign in by TCP; `scram-sha-256` when left out. */
  readonly hostAuthentication?: 'scram-sha-256' | 'trust' | 'reject';
  /** How clients sign in by the Unix socket; `peer` when left out. */
  readonly localAuthentication?: 'peer' | 'scram-sha-256' | 'trust';
  /** On when left out: pg_rewind and the detection of rotten pages need them. */
  readonly dataChecksums?: boolean;
  readonly locale?: string;
  /** Skips fsync. Only for clusters that may be lost, as in tests. */
  readonly noSync?: boolean;
}

/** Whether a directory holds a cluster, and of which major version. */
export async function clusterVersion(directory: string): Promise<number | undefined> {
  const text = await readPlainIfPresent(path.join(directory, 'PG_VERSION'));
  return text === undefined ? undefined : Number.parseInt(text.toString('utf8'), 10);
}

/**
 * Runs initdb beside the directory and renames the result into place, so that a crash leaves either no cluster or a
 * whole one. Nothing to do when there is one already.
 *
 * @throws PostgresServerError when a cluster of another version is there; PostgresToolError when initdb fails.
 */
export async function initialiseCluster(
  installation: PostgresInstallation,
  directory: string,
  identity: ServerIdentity,
  options: InitialiseOptions,
): Promise<void> {
  const present = await clusterVersion(directory);
  if (present === installation.majorVersion) return;
  if (present !== undefined) {
    throw new PostgresServerError(
      `The data directory was made by PostgreSQL ${present}, and the programs here are version ${installation.majorVersion}. Install PostgreSQL ${present}, or upgrade the data with pg_upgrade.`,
      { detail: directory },
    );
  }
  const parent = path.dirname(directory);
  const half = path.join(parent, `.${path.basename(directory)}.initialising`);
  await rm(half, { recursive: true, force: true });
  // Below it, so that PostgreSQL's user may work although the parent is not its own.
  await ownedDirectory(half, identity);
  const fresh = path.join(half, 'data');
  await runInitdb(installation, fresh, half, identity, options);
  // Removes an empty directory that was prepared for it, and refuses one with content.
  await ifPresent(rmdir(directory));
  await rename(fresh, directory);
  await rm(half, { recursive: true, force: true });
}

async function runInitdb(
  installation: PostgresInstallation,
  fresh: string,
  workDirectory: string,
  identity: ServerIdentity,
  options: InitialiseOptions,
): Promise<void> {
  const args = ['-D', fresh, '-E', 'UTF8', '--locale', options.locale ?? defaultLocale()];
  args.push('-U', options.superuser ?? 'postgres');
  args.push(`--auth-host=${options.hostAuthentication ?? 'scram-sha-256'}`);
  args.push(`--auth-local=${options.localAuthentication ?? 'peer'}`);
  if (options.dataChecksums ?? true) args.push('--data-checksums');
  if (options.noSync) args.push('--no-sync');
  if (options.password !== undefined) {
    const secrets = await mkdtemp(path.join(workDirectory, 'secret-'));
    const file = path.join(secrets, 'password');
    await withDirectory(secrets, [], (folder) => folder.replace('password', `${options.password}\n`, identity));
    await chownTo(secrets, identity);
    args.push('--pwfile', file);
  }
  await runTool(path.join(installation.binDirectory, 'initdb'), args, { identity, timeoutMs: 120_000 });
}

/** Sorts by code point and knows Unicode's letters; macOS has no such locale. */
function defaultLocale(): string {
  return platform() === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8';
}

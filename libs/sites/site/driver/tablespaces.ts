import { createHash } from 'node:crypto';
import { lstat, mkdir, readlink, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { ownedDirectory } from '#libs/platform/postgres';
import { TablespaceRefusedError } from './errors.js';

/** An agency names the path, so nothing of the site's own system may be among them. */
const SYSTEM = [
  ...[
    '/bin',
    '/boot',
    '/dev',
    '/etc',
    '/lib',
    '/lib32',
    '/lib64',
    '/libx32',
    '/proc',
    '/root',
    '/run',
    '/sbin',
    '/sys',
  ],
  ...[
    '/usr',
    '/var/cache',
    '/var/lib/dpkg',
    '/var/log',
    '/var/run',
    '/var/spool',
    '/System',
    '/Library',
    '/private/etc',
  ],
];

/**
 * Makes the host's path of a tablespace a link into the standby's own folder: replay of CREATE TABLESPACE takes the
 * primary's path as it is. One path can belong to one standby of this host only, and to no other use of it.
 *
 * @returns the path that now is a link, to be removed with the standby.
 * @throws TablespaceRefusedError
 */
export async function linkTablespace(location: string, folder: string, siteRoot: string): Promise<string> {
  const { normal, present } = await checkLocation(location, siteRoot);
  const target = path.join(folder, createHash('sha256').update(normal).digest('hex').slice(0, 16));
  if (present === target) {
    await ownedDirectory(target);
    return normal;
  }
  if (present !== undefined) throw new TablespaceRefusedError(location, 'another standby of this site uses the path');
  await ownedDirectory(target);
  try {
    await mkdir(path.dirname(normal), { recursive: true, mode: 0o755 });
    await symlink(target, normal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new TablespaceRefusedError(location, `it cannot be made (${code ?? 'unknown'})`);
  }
  return normal;
}

/**
 * Whether a tablespace's path can be had on this host at all.
 *
 * @returns its plain form, and where it leads if it is a link already, of this standby or of another
 * @throws TablespaceRefusedError
 */
export async function checkLocation(
  location: string,
  siteRoot: string,
): Promise<{ normal: string; present: string | undefined }> {
  const normal = path.normalize(location).replace(/\/+$/, '');
  const within = (parent: string) => normal === parent || normal.startsWith(`${parent}/`);
  if (!path.isAbsolute(location) || normal === '' || location.split('/').includes('..')) {
    throw new TablespaceRefusedError(location, 'it is no absolute path');
  }
  if (SYSTEM.some(within)) throw new TablespaceRefusedError(location, 'it belongs to the operating system');
  if (within(siteRoot)) throw new TablespaceRefusedError(location, "it is inside the site's own folders");
  return { normal, present: await presentTarget(normal, location) };
}

/** Removes links of the host that lead into `folder`; what was put in their place meanwhile stays. */
export async function unlinkTablespaces(links: readonly string[], folder: string): Promise<void> {
  for (const link of links) {
    const target = await readlink(link).catch(() => undefined);
    if (target?.startsWith(`${folder}/`)) await rm(link, { force: true });
  }
}

async function presentTarget(normal: string, location: string): Promise<string | undefined> {
  const status = await lstat(normal).catch(() => undefined);
  if (!status) return undefined;
  if (status.isSymbolicLink()) return readlink(normal);
  throw new TablespaceRefusedError(location, 'the path is in use on this host');
}

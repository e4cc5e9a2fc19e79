import { createHash } from 'node:crypto';
import { lstat, mkdir, readlink, realpath, symlink, unlink } from 'node:fs/promises';
import path from 'node:path';
import { errorCode, ifPresent } from '#libs/platform/errors';
import { keptDirectory, OpenDirectory, ownedDirectory, type ServerIdentity } from '#libs/platform/postgres';
import { TablespaceRefusedError } from './errors.js';

/** Below these folders of the host, tablespaces may have the paths that they have at the agency. */
export const DEFAULT_TABLESPACE_ROOTS: readonly string[] = ['/srv/tablespaces'];
/** Links of one standby: an agency names them, and each takes room on the host. */
const LINKS_MAX = 64;
const DEPTH_MAX = 16;

export interface TablespacePlace {
  readonly roots: readonly string[];
  /** The standby's own folder of tablespaces, in which only this process changes names. */
  readonly folder: string;
  readonly owner: ServerIdentity;
  /** Links that the standby has already. */
  readonly links: readonly string[];
}

/**
 * Makes the host's path of a tablespace a link into the standby's own folder: replay of CREATE TABLESPACE takes the
 * primary's path as it is. One path can belong to one standby of this host only, and to no other use of it.
 *
 * Only below the allowed roots, through folders that are ours alone: no link on the way is followed.
 *
 * @returns the path that now is a link, to be removed with the standby.
 * @throws TablespaceRefusedError, the same whatever stands in the way: what others have is none of the agency's business
 */
export async function linkTablespace(location: string, place: TablespacePlace): Promise<string> {
  const { roots, folder, owner, links } = place;
  const refused = (why: string, cause?: unknown) => new TablespaceRefusedError(location, roots, why, cause);
  const { root, steps, plain } = within(location, roots, refused);
  if (!links.includes(plain) && links.length >= LINKS_MAX) throw refused('too many links');
  const target = path.join(folder, createHash('sha256').update(plain).digest('hex').slice(0, 16));
  await keptDirectory(folder, owner);
  await ownedDirectory(target, owner);
  await keptRoot(root);
  const parent = await enterOwn(await realpath(root), steps.slice(0, -1), refused);
  try {
    const name = parent.name(steps.at(-1) ?? '');
    const present = await ifPresent(readlink(name)).catch((cause: unknown) => {
      throw refused('it is in use', cause);
    });
    if (present === undefined) await symlink(target, name);
    else if (present !== target) throw refused('another standby uses it');
  } finally {
    await parent.close();
  }
  return plain;
}

/** Whether a standby has a tablespace already, by its copy or by its replay. */
export async function hasTablespace(dataDirectory: string, oid: number): Promise<boolean> {
  return (await ifPresent(lstat(path.join(dataDirectory, 'pg_tblspc', String(oid))))) !== undefined;
}

/** Whether a path could be a tablespace's here at all; nothing is made. @throws TablespaceRefusedError */
export async function checkLocation(location: string, roots: readonly string[]): Promise<void> {
  const refused = (why: string, cause?: unknown) => new TablespaceRefusedError(location, roots, why, cause);
  const { plain } = within(location, roots, refused);
  const present = await ifPresent(lstat(plain)).catch((cause: unknown) => {
    throw refused('a folder on the way is none', cause);
  });
  if (present) throw refused('it is in use');
}

/** Removes links of the host that lead into `folder`; what was put in their place meanwhile stays. */
export async function unlinkTablespaces(links: readonly string[], folder: string): Promise<void> {
  for (const link of links) {
    const parent = await OpenDirectory.at(path.dirname(link)).catch(unlessReplaced);
    if (!parent) continue;
    try {
      const name = parent.name(path.basename(link));
      const target = await readlink(name).catch(unlessReplaced);
      if (target?.startsWith(`${folder}/`)) await unlink(name);
    } finally {
      await parent.close();
    }
  }
}

/** The name is gone, or something else bears it: a file or a link for a folder, or what is no link. */
function unlessReplaced(error: unknown): undefined {
  if (!['ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL'].includes(errorCode(error) ?? '')) throw error;
}

function within(
  location: string,
  roots: readonly string[],
  refused: (why: string) => Error,
): { root: string; steps: string[]; plain: string } {
  const plain = path.normalize(location).replace(/\/+$/, '');
  if (!path.isAbsolute(location) || location.split('/').includes('..')) throw refused('it is no absolute path');
  const root = roots.map((each) => path.resolve(each)).find((each) => plain.startsWith(`${each}/`));
  if (root === undefined) throw refused('it lies outside');
  const steps = plain.slice(root.length + 1).split('/');
  if (steps.length > DEPTH_MAX || plain.length > 1_000 || /\p{Cc}/u.test(plain)) throw refused('it is too long');
  return { root, steps, plain };
}

/** A root that the provider has made is left as it is. */
async function keptRoot(root: string): Promise<void> {
  if (!(await ifPresent(lstat(root)))) await keptDirectory(root);
}

/** Goes down, making what is missing. Whoever could write into a folder on the way could put a link there. */
async function enterOwn(
  root: string,
  steps: readonly string[],
  refused: (why: string, cause?: unknown) => Error,
): Promise<OpenDirectory> {
  let at = await OpenDirectory.at(root);
  try {
    await requireOwn(at, refused);
    for (const step of steps) {
      await mkdir(at.name(step), { mode: 0o711 }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
      const next = await at.enter(step).catch((cause: unknown) => {
        throw refused('a folder on the way is none', cause);
      });
      await at.close();
      at = next;
      await requireOwn(at, refused);
    }
    return at;
  } catch (error) {
    await at.close();
    throw error;
  }
}

async function requireOwn(directory: OpenDirectory, refused: (why: string) => Error): Promise<void> {
  const { uid, mode } = await directory.status();
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0) throw refused('others may write on the way');
}

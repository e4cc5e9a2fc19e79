import { lstat, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import type { AgentWorkload } from '#libs/sites/agent';
import { ArchiveWorkError } from '../errors.js';
import type { WorkSurroundings } from './outcome.js';

/** Paths of a snapshot that go to one folder that is there already, which is below all of them or one of them itself. */
export interface RestorePlace {
  readonly anchor: string;
  /** Of the snapshot; all of it when empty. */
  readonly paths: readonly string[];
}

/**
 * Where wanted paths go back to: only what agent.json lists as the workload's own may be written. Restoring a path of
 * somewhere else would let whoever speaks for the site put files anywhere.
 *
 * @throws ArchiveWorkError
 */
export async function originalPlaces(workload: AgentWorkload, wanted: readonly string[]): Promise<RestorePlace[]> {
  if (workload.kind !== 'files') {
    throw new ArchiveWorkError(
      'no-original',
      'A dump has no place of its own on this machine. Restore it into a folder, and load it from there.',
    );
  }
  const places = new Map<string, string[]>();
  for (const each of wanted.length === 0 ? workload.paths : wanted) {
    const normal = normalized(each);
    const root = workload.paths.find((own) => isWithin(normal, own));
    if (root === undefined) {
      throw new ArchiveWorkError(
        'restore-outside',
        `agent.json does not list ${normal} as part of "${workload.name}". Restore it into a folder instead.`,
      );
    }
    const anchor = await anchorOf(normal, root);
    places.set(anchor, [...(places.get(anchor) ?? []), normal]);
  }
  return [...places].map(([anchor, paths]) => ({ anchor, paths }));
}

/** @throws ArchiveWorkError when agent.json does not allow it */
export async function folderPlace(
  workload: AgentWorkload,
  folder: string,
  { state, restoreTo }: WorkSurroundings,
): Promise<string> {
  const target = normalized(folder);
  const own = workload.kind === 'files' ? workload.paths : [];
  const allowed = [state.restored, ...restoreTo, ...own];
  const real = await realOf(target);
  for (const each of allowed) if (isWithin(target, each) && isWithin(real, await realOf(each))) return target;
  throw new ArchiveWorkError(
    'folder-not-allowed',
    `agent.json does not let a restore write to ${target}. Add it to "restoreTo" there and restart the agent, or restore into ${state.restored}.`,
  );
}

export function isWithin(file: string, folder: string): boolean {
  return file === folder || file.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

export function normalized(file: string): string {
  return path.posix.normalize(file).replace(/(?<=.)\/$/, '');
}

/** The deepest folder on the way to a path that is there, links followed. */
async function realOf(file: string): Promise<string> {
  const found = await ifPresent(realpath(file));
  if (found !== undefined) return found;
  return path.join(await realOf(path.dirname(file)), path.basename(file));
}

/**
 * The deepest real folder at or above a path. Links of the root itself and above are the agency's own; below it they are
 * not followed.
 */
async function anchorOf(file: string, root: string): Promise<string> {
  let anchor = root;
  while (!(await isFolder(anchor))) anchor = path.dirname(anchor);
  if (anchor !== root) return anchor;
  for (const step of path.relative(root, file).split('/').filter(Boolean)) {
    const next = path.join(anchor, step);
    const found = await ifPresent(lstat(next).catch(notAFolder));
    if (!found?.isDirectory()) return anchor;
    anchor = next;
  }
  return anchor;
}

async function isFolder(file: string): Promise<boolean> {
  return (await ifPresent(stat(file).catch(notAFolder)))?.isDirectory() ?? false;
}

/** A file on the way to it: then it is not there. */
function notAFolder(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOTDIR') return undefined;
  throw error;
}

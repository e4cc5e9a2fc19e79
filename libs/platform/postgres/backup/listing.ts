import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '../../errors/index.js';
import { belongsToBackup, EMPTY_DIRECTORIES, isCopiedDirectory, unloggedFiles, VERSION_FILE } from './layout.js';
import type { BackupEntry, BackupTablespace } from './wire.js';

export interface Listing {
  readonly entries: readonly BackupEntry[];
  readonly files: ReadonlySet<string>;
  readonly totalBytes: number;
}

/**
 * Lists what a backup copies, directories before what is in them. To be called after the backup has begun: what is made
 * later is made again out of the write-ahead log.
 */
export async function listDataDirectory(dataDirectory: string): Promise<Listing> {
  const entries: BackupEntry[] = [];
  const tops = (await readdir(dataDirectory)).filter(isCopiedDirectory).sort();
  for (const top of tops) await walk(dataDirectory, top, entries);
  for (const directory of EMPTY_DIRECTORIES) entries.push({ path: directory, kind: 'directory', size: 0 });
  const version = await stat(path.join(dataDirectory, VERSION_FILE));
  entries.push({ path: VERSION_FILE, kind: 'file', size: version.size });
  const files = entries.filter((entry) => entry.kind === 'file');
  return {
    entries,
    files: new Set(files.map((entry) => entry.path)),
    totalBytes: files.reduce((sum, entry) => sum + entry.size, 0),
  };
}

/** The tablespaces that lie outside the data directory; in-place ones are ordinary directories. */
export async function listTablespaces(dataDirectory: string): Promise<BackupTablespace[]> {
  const directory = path.join(dataDirectory, 'pg_tblspc');
  const found: BackupTablespace[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (!entry.isSymbolicLink() || !/^\d+$/.test(entry.name)) continue;
    found.push({ oid: Number(entry.name), location: await readlink(path.join(directory, entry.name)) });
  }
  return found;
}

async function walk(root: string, directory: string, into: BackupEntry[]): Promise<void> {
  // Files come and go while the server runs; one that went is no fault.
  const names = await ifPresent(readdir(path.join(root, directory)));
  if (!names) return;
  into.push({ path: directory, kind: 'directory', size: 0 });
  const unlogged = unloggedFiles(names);
  const wanted = names.filter((name) => !unlogged.has(name)).sort();
  const directories: string[] = [];
  for (let at = 0; at < wanted.length; at += STATS_AT_ONCE) {
    const found = await Promise.all(
      wanted
        .slice(at, at + STATS_AT_ONCE)
        .map(async (name) => ({ name, kind: await examine(root, `${directory}/${name}`) })),
    );
    for (const { name, kind } of found) {
      const relative = `${directory}/${name}`;
      if (!kind || !belongsToBackup(relative, kind === 'directory' ? kind : 'file')) continue;
      if (kind === 'directory') directories.push(name);
      else into.push({ path: relative, kind: 'file', size: kind.size });
    }
  }
  for (const name of directories) await walk(root, `${directory}/${name}`, into);
}

const STATS_AT_ONCE = 64;

/** Symbolic links are followed for tablespaces only; anything else that is neither file nor directory is left out. */
async function examine(root: string, relative: string): Promise<'directory' | { size: number } | undefined> {
  const file = path.join(root, relative);
  const isTablespace = path.dirname(relative) === 'pg_tblspc';
  const status = await ifPresent(isTablespace ? stat(file) : lstat(file));
  if (status?.isDirectory()) return 'directory';
  return status?.isFile() ? { size: status.size } : undefined;
}

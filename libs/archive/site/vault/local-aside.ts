import { link, mkdir, readdir, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { errorCode, ifPresent } from '#libs/platform/errors';
import { ASIDE, asideName, parseAsideName } from './aside-names.js';
import { fullIsNamed, statObject, syncFolder } from './local-files.js';
import type { LaidAside } from './storage.js';

/** What was removed from a vault on a local file system: the same files by other names, on the same file system. */
export class LocalAside {
  /** @param root the vault's folder. */
  constructor(private readonly root: string) {}

  /** One rename: the file is at every moment in exactly one of the two places. */
  async lay(file: string, repository: string, removed: Pick<LaidAside, 'name' | 'removedAt'>): Promise<boolean> {
    const folder = await this.made(repository);
    try {
      await fullIsNamed(() => rename(file, path.join(folder, asideName(removed))));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false;
      throw error;
    }
    // The new name first: a power failure then leaves both rather than none.
    for (const each of [folder, path.dirname(file)]) await syncFolder(each);
    return true;
  }

  async *of(repository: string): AsyncIterable<LaidAside> {
    for (const text of (await ifPresent(readdir(this.folder(repository)))) ?? []) {
      const named = parseAsideName(text);
      const found = named && (await statObject(path.join(this.folder(repository), text)));
      if (found) yield { ...named, bytes: found.bytes };
    }
  }

  /** By a hard link, which never replaces what is there. */
  async bringBack(file: string, repository: string, aside: LaidAside): Promise<'returned' | 'present' | 'absent'> {
    const from = path.join(this.folder(repository), asideName(aside));
    try {
      await fullIsNamed(() => link(from, file));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return 'absent';
      if (errorCode(error) === 'EEXIST') return 'present';
      throw error;
    }
    await syncFolder(path.dirname(file));
    await unlink(from);
    return 'returned';
  }

  async discard(repository: string, aside: LaidAside): Promise<void> {
    await ifPresent(unlink(path.join(this.folder(repository), asideName(aside))));
  }

  /** Moves all of a repository's to where it is cleared from. */
  async bury(repository: string, grave: string): Promise<void> {
    await ifPresent(rename(this.folder(repository), grave));
  }

  private async made(repository: string): Promise<string> {
    const folder = this.folder(repository);
    const first = await fullIsNamed(() => mkdir(folder, { recursive: true, mode: 0o700 }));
    // Both names: it may be the vault's first.
    if (first !== undefined) for (const each of [path.dirname(folder), this.root]) await syncFolder(each);
    return folder;
  }

  private folder(repository: string): string {
    return path.join(this.root, ASIDE, repository);
  }
}

import type { Stats } from 'node:fs';
import {
  chmod,
  constants,
  copyFile,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  opendir,
  readlink,
  rename,
  rm,
  symlink,
  unlink,
} from 'node:fs/promises';
import path from 'node:path';
import { errorCode, errorText, ifPresent } from '#libs/platform/errors';
import type { Faults } from './outcome.js';

/** What a hard link cannot do here: another file system, one without such links, or too many of them. */
const NO_LINK = ['EXDEV', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'];
/** Something came into the way of a folder that was not there a moment ago. */
const CAME_BETWEEN = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EISDIR'];

/**
 * Puts what restic has restored beside its place into it. What is there stays, whoever made it and whenever: a file gets
 * its name by a hard link, which never replaces anything. (`restic restore --overwrite never` removes a file where the
 * snapshot has a folder, and looks whether a file is there long before it writes it.) Folders that are there keep their
 * own rights and times.
 */
export class Placing {
  restored = 0;
  skipped = 0;
  bytes = 0;

  constructor(
    private readonly faults: Faults,
    private readonly signal: AbortSignal,
    /** Files, never folders, may be replaced. */
    private readonly replace: boolean,
  ) {}

  /** All entries of one folder into another that is there. @throws the signal's reason */
  async merge(staged: string, target: string): Promise<void> {
    for await (const entry of await opendir(staged)) {
      this.signal.throwIfAborted();
      const from = path.join(staged, entry.name);
      const to = path.join(target, entry.name);
      try {
        if (entry.isDirectory()) await this.folder(from, to);
        else await this.file(from, to);
      } catch (error) {
        this.signal.throwIfAborted();
        this.faults.add(to, errorText(error));
      }
    }
  }

  private async folder(from: string, to: string): Promise<void> {
    const there = await ifPresent(lstat(to));
    if (there?.isDirectory()) return this.merge(from, to);
    if (there) return this.skip(from);
    const held = await count(from);
    try {
      await rename(from, to);
    } catch (error) {
      const code = errorCode(error) ?? '';
      if (CAME_BETWEEN.includes(code)) return this.folder(from, to);
      if (code !== 'EXDEV') throw error;
      const found = await lstat(from);
      await mkdir(to, { mode: 0o700 });
      await this.merge(from, to);
      return dress(to, found);
    }
    this.restored += held.files;
    this.bytes += held.bytes;
  }

  private async file(from: string, to: string): Promise<void> {
    const found = await lstat(from);
    if (this.replace && !(await ifPresent(lstat(to)))?.isDirectory()) {
      await rename(from, to);
    } else {
      const placed = await this.exclusively(from, to, found);
      if (!placed) return void (this.skipped += 1);
    }
    this.restored += 1;
    this.bytes += found.isFile() ? found.size : 0;
  }

  /** @returns false when something is there */
  private async exclusively(from: string, to: string, found: Stats): Promise<boolean> {
    try {
      await link(from, to);
      await unlink(from);
      return true;
    } catch (error) {
      const code = errorCode(error) ?? '';
      if (code === 'EEXIST') return false;
      if (!NO_LINK.includes(code)) throw error;
    }
    try {
      if (found.isSymbolicLink()) await symlink(await readlink(from), to);
      else if (found.isFile()) await copyFile(from, to, constants.COPYFILE_EXCL);
      else throw new Error('It is a special file, which cannot be copied to another file system.');
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return false;
      throw error;
    }
    await dress(to, found);
    return true;
  }

  private async skip(from: string): Promise<void> {
    this.skipped += (await count(from)).files;
  }
}

/** Owner, rights and times of what was copied. */
async function dress(file: string, { uid, gid, mode, atime, mtime }: Stats): Promise<void> {
  if (process.getuid?.() === 0) await lchown(file, uid, gid);
  if (!(await lstat(file)).isSymbolicLink()) await chmod(file, mode & 0o7777);
  await lutimes(file, atime, mtime);
}

/** Files, links and special files below a folder, and the bytes of the files. */
async function count(folder: string): Promise<{ files: number; bytes: number }> {
  const sum = { files: 0, bytes: 0 };
  for await (const entry of await opendir(folder)) {
    const each = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      const inside = await count(each);
      sum.files += inside.files;
      sum.bytes += inside.bytes;
    } else {
      sum.files += 1;
      sum.bytes += entry.isFile() ? (await lstat(each)).size : 0;
    }
  }
  return sum;
}

/** What restic could not write whole must not be taken for whole. */
export async function dropFaulty(staging: string, items: Iterable<string>): Promise<void> {
  for (const item of items) {
    const file = path.join(staging, path.posix.normalize(`/${item}`));
    const found = await ifPresent(lstat(file));
    if (found && !found.isDirectory()) await rm(file);
  }
}

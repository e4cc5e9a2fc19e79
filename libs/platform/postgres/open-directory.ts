import { constants, type Dirent, type Stats } from 'node:fs';
import { lstat, open, readdir, realpath, rename, rmdir, unlink, type FileHandle } from 'node:fs/promises';
import { platform } from 'node:os';
import path from 'node:path';
import { errorCode, ifPresent } from '../errors/index.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
  /** False when this process already is that user: then nothing is given away. */
  readonly switched: boolean;
}

/**
 * A directory that is held open. Root works in directories whose owner may put a symbolic link in the place of any name
 * at any moment: what is done through the open directory happens in it and nowhere else, and no link is followed.
 *
 * Linux names an open directory below /proc/self/fd, which stands in for openat(2). Elsewhere its path is used; there
 * no user is switched, so the owner of the directory is the one who works in it.
 */
export class OpenDirectory {
  private constructor(
    private readonly handle: FileHandle,
    private readonly directory: string,
  ) {}

  /** The last part of the path must be no link; what lies above it must be in nobody else's hands. */
  static async at(directory: string): Promise<OpenDirectory> {
    return new OpenDirectory(await open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), directory);
  }

  /** How a name in it is called. @throws RangeError for what is no plain name */
  name(child: string): string {
    if (child === '' || child === '.' || child === '..' || /[/\0]/.test(child)) {
      throw new RangeError(`not a file's plain name: ${JSON.stringify(child.slice(0, 80))}`);
    }
    return path.join(this.self, child);
  }

  enter(child: string): Promise<OpenDirectory> {
    return OpenDirectory.at(this.name(child));
  }

  entries(): Promise<Dirent[]> {
    return readdir(this.self, { withFileTypes: true });
  }

  async own(owner: FileOwner, mode: number): Promise<void> {
    if (owner.switched) await this.handle.chown(owner.uid, owner.gid);
    await this.handle.chmod(mode);
  }

  status(): Promise<Stats> {
    return this.handle.stat();
  }

  sync(): Promise<void> {
    return this.handle.sync();
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  /** Writes a file of it whole or not at all: mode 0600 or `mode`, owned by `owner`; on disk when this returns. */
  async replace(
    child: string,
    content: string | Uint8Array,
    owner: FileOwner,
    { mode = 0o600, sync = true }: { readonly mode?: number; readonly sync?: boolean } = {},
  ): Promise<void> {
    const fresh = this.name(`${child}.new`);
    await ifPresent(unlink(fresh));
    const handle = await open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      if (owner.switched) await handle.chown(owner.uid, owner.gid);
      await handle.chmod(mode);
      await handle.writeFile(content);
      if (sync) await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, this.name(child));
  }

  /** Removes a name and all below it; a link goes, and what it leads to stays. Nothing to do when there is none. */
  async remove(child: string): Promise<void> {
    const name = this.name(child);
    const status = await ifPresent(lstat(name));
    if (!status) return;
    if (!status.isDirectory()) return ifPresent(unlink(name));
    const below = await this.enter(child);
    try {
      for (const entry of await below.entries()) await below.remove(entry.name);
    } finally {
      await below.close();
    }
    await ifPresent(rmdir(name));
  }

  private get self(): string {
    return platform() === 'linux' ? `/proc/self/fd/${this.handle.fd}` : this.directory;
  }
}

/** Works in a directory some steps below one that is in nobody else's hands, none of the steps being a link. */
export async function withDirectory<T>(
  directory: string,
  steps: readonly string[],
  work: (directory: OpenDirectory) => Promise<T>,
): Promise<T> {
  let at = await OpenDirectory.at(directory);
  try {
    for (const step of steps) {
      const next = await at.enter(step);
      await at.close();
      at = next;
    }
    return await work(at);
  } finally {
    await at.close();
  }
}

/** Removes a whole directory, or a file, below a parent that is in nobody else's hands. */
export async function removeTree(target: string): Promise<void> {
  const above = await ifPresent(realpath(path.dirname(target)));
  const parent = above === undefined ? undefined : await OpenDirectory.at(above);
  await parent?.remove(path.basename(target)).finally(() => parent.close());
}

/**
 * Opens a plain file to read. A link is not followed, and a pipe does not hold us up. With `owner`, only a file of that
 * user: then nothing is read that the user could not read itself, wherever a name on the way leads.
 *
 * @throws what open(2) throws; NotPlainFileError
 */
export async function openPlain(file: string, owner?: number): Promise<FileHandle> {
  const handle = await open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const status = await handle.stat();
    if (!status.isFile() || (owner !== undefined && status.uid !== owner)) throw new NotPlainFileError(file);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

const TEXT_MAX = 16 * 1024 * 1024;

/** A short file's content, read as {@link openPlain} does. */
export async function readPlain(file: string, owner?: number): Promise<Buffer> {
  const handle = await openPlain(file, owner);
  try {
    if ((await handle.stat()).size > TEXT_MAX) throw new NotPlainFileError(file);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** No such file, or a link, a directory, a pipe or a socket under its name, or something else above it. */
const NO_PLAIN_FILE = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL', 'ENXIO'];

/**
 * As {@link readPlain}; undefined where no plain file has the name. What is there and cannot be read (no right, no free
 * descriptor, a bad disk) must not be taken for absent, and is thrown.
 */
export async function readPlainIfPresent(file: string): Promise<Buffer | undefined> {
  try {
    return await readPlain(file);
  } catch (error) {
    if (NO_PLAIN_FILE.includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}

/** What lies under the name is no plain file of the right user, where nothing else may lie. */
export class NotPlainFileError extends Error {
  readonly code = 'EINVAL';

  constructor(file: string) {
    super(`not a plain file of its directory's user: ${file}`);
    this.name = 'NotPlainFileError';
  }
}

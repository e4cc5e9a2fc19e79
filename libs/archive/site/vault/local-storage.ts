import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { errorCode, ifPresent } from '#libs/platform/errors';
import { fullIsNamed, IncomingFile, pieces, statObject, syncFolder } from './local-files.js';
import { LocalAside } from './local-aside.js';
import { isObjectId, OBJECT_TYPES, objectLabel, type ObjectName, type ObjectType } from './object-names.js';
import type { ByteRange, IncomingObject, LaidAside, ListedObject, StoredObject, VaultStorage } from './storage.js';
import { ObjectNotFoundError } from './vault.errors.js';

/** Restores read packs of 16 MiB; a stream's default of 64 KiB would cost four times the calls. */
const READ_BYTES = 512 * 1024;
const PRIVATE = { directory: 0o700, file: 0o600 };
/** Beside the repositories, on the same file system: what is here is seen by nobody. */
const INCOMING = '.incoming';
const REMOVED = '.removed';

/**
 * A vault on a local file system, in the layout that `restic -r <folder>` opens: `config`, `data/<first two digits>/<id>`,
 * `index/<id>` and so on. An object arrives in a file of its own elsewhere and gets its name by a hard link, which,
 * unlike a rename, never replaces what is there.
 */
export class LocalStorage implements VaultStorage {
  private readonly aside: LocalAside;

  /** @param root a folder of the vault's own, on one file system that knows hard links. */
  constructor(private readonly root: string) {
    this.aside = new LocalAside(root);
  }

  async createRepository(repository: string): Promise<void> {
    const base = this.folder(repository);
    for (const type of OBJECT_TYPES) await mkdir(path.join(base, type), { recursive: true, mode: PRIVATE.directory });
    const data = path.join(base, 'data');
    // All at once: an upload then never waits for a new folder to become durable.
    for (let prefix = 0; prefix < 256; prefix += 1) {
      await mkdir(path.join(data, prefix.toString(16).padStart(2, '0')), { mode: PRIVATE.directory }).catch(
        presentIsFine,
      );
    }
    for (const folder of [data, base, this.root]) await syncFolder(folder);
  }

  async repositoryExists(repository: string): Promise<boolean> {
    return (await ifPresent(stat(path.join(this.folder(repository), 'data', 'ff')))) !== undefined;
  }

  async removeRepository(repository: string): Promise<void> {
    const grave = path.join(this.root, REMOVED, randomUUID());
    await mkdir(path.dirname(grave), { recursive: true, mode: PRIVATE.directory });
    // Gone at once, cleared afterwards: a crash in between leaves no half of a repository.
    await rename(this.folder(repository), grave).catch((error: unknown) => {
      if (errorCode(error) !== 'ENOENT') throw error;
    });
    await syncFolder(this.root);
    await rm(grave, { recursive: true, force: true });
    await this.aside.bury(repository, grave);
    await rm(grave, { recursive: true, force: true });
  }

  async repositories(): Promise<readonly string[]> {
    const entries = (await ifPresent(readdir(this.root, { withFileTypes: true }))) ?? [];
    return entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name);
  }

  async *list(repository: string, type: ObjectType): AsyncIterable<ListedObject> {
    const base = path.join(this.folder(repository), type);
    if (type !== 'data') return yield* this.objectsIn(base);
    for (const { name } of (await readdir(base, { withFileTypes: true })).filter((entry) => entry.isDirectory())) {
      yield* this.objectsIn(path.join(base, name));
    }
  }

  async stat(repository: string, name: ObjectName): Promise<StoredObject | undefined> {
    return statObject(this.file(repository, name));
  }

  async read(repository: string, name: ObjectName, range?: ByteRange): Promise<Readable> {
    const handle = await this.opened(repository, name);
    const limits = range ? { start: range.first, end: range.last } : {};
    return handle.createReadStream({ highWaterMark: READ_BYTES, ...limits });
  }

  async *pieces(repository: string, name: ObjectName, range?: ByteRange): AsyncIterable<Buffer> {
    const handle = await this.opened(repository, name);
    const whole = async (): Promise<ByteRange> => ({ first: 0, last: (await handle.stat()).size - 1 });
    yield* pieces(handle, range ?? (await whole()));
  }

  async incoming(repository: string, name: ObjectName): Promise<IncomingObject> {
    const folder = path.join(this.root, INCOMING);
    const temporary = path.join(folder, randomUUID());
    const create = (): Promise<FileHandle> => fullIsNamed(() => open(temporary, 'wx', PRIVATE.file));
    const handle = await create().catch(async (error: unknown) => {
      if (errorCode(error) !== 'ENOENT') throw error;
      await mkdir(folder, { recursive: true, mode: PRIVATE.directory });
      return create();
    });
    return new IncomingFile(handle, temporary, this.file(repository, name));
  }

  async remove(repository: string, name: ObjectName): Promise<boolean> {
    const file = this.file(repository, name);
    try {
      await unlink(file);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false;
      throw error;
    }
    await syncFolder(path.dirname(file));
    return true;
  }

  layAside(repository: string, name: ObjectName, removedAt: Date): Promise<boolean> {
    return this.aside.lay(this.file(repository, name), repository, { name, removedAt });
  }

  laidAside(repository: string): AsyncIterable<LaidAside> {
    return this.aside.of(repository);
  }

  bringBack(repository: string, aside: LaidAside): Promise<'returned' | 'present' | 'absent'> {
    return this.aside.bringBack(this.file(repository, aside.name), repository, aside);
  }

  discardAside(repository: string, aside: LaidAside): Promise<void> {
    return this.aside.discard(repository, aside);
  }

  async discardLeftovers(): Promise<number> {
    let found = 0;
    for (const name of [INCOMING, REMOVED]) {
      const folder = path.join(this.root, name);
      const entries = (await ifPresent(readdir(folder))) ?? [];
      for (const entry of entries) await rm(path.join(folder, entry), { recursive: true, force: true });
      found += entries.length;
    }
    return found;
  }

  private async *objectsIn(folder: string): AsyncIterable<ListedObject> {
    // A million packs are four thousand names in a folder: reading it by parts would cost more than it spares.
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (!entry.isFile() || !isObjectId(entry.name)) continue;
      const found = await statObject(path.join(folder, entry.name));
      // Removed since the folder was read.
      if (found) yield { id: entry.name, ...found };
    }
  }

  private async opened(repository: string, name: ObjectName): Promise<FileHandle> {
    const handle = await ifPresent(open(this.file(repository, name), 'r'));
    if (!handle) throw new ObjectNotFoundError(objectLabel(name));
    return handle;
  }

  private folder(repository: string): string {
    return path.join(this.root, repository);
  }

  private file(repository: string, name: ObjectName): string {
    const base = this.folder(repository);
    if (name.type === 'config') return path.join(base, 'config');
    if (name.type === 'data') return path.join(base, 'data', name.id.slice(0, 2), name.id);
    return path.join(base, name.type, name.id);
  }
}

function presentIsFine(error: unknown): void {
  if (errorCode(error) !== 'EEXIST') throw error;
}

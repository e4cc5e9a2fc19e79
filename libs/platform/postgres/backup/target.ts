import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, stat, symlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { errorCode, ifPresent } from '../../errors/index.js';
import { ownedDirectory, type ServerIdentity } from '../identity.js';
import { NotPlainFileError, OpenDirectory, openPlain, withDirectory } from '../open-directory.js';
import { BackupRefusedError } from './errors.js';
import { CONTROL_FILE, VERSION_FILE } from './layout.js';
import type { BackupEntry, BackupTablespace } from './wire.js';

/** Lies in a data directory for as long as it is not whole. No server of ours is started on one that holds it. */
export const INCOMPLETE_MARKER = 'mainstay-incomplete';
const SYNCS_AT_ONCE = 8;
const READ_WRITE = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** True when a directory holds a backup that was cut off, so that no server may start on it. */
export async function isIncomplete(directory: string): Promise<boolean> {
  return (await ifPresent(stat(path.join(directory, INCOMPLETE_MARKER)))) !== undefined;
}

/**
 * The data directory that a backup is received into: its files, owners, links and the order in which it becomes whole.
 * All of it belongs to `owner`, who may put links into it meanwhile: none is followed but those of {@link place}.
 */
export class BackupTarget {
  private places: ReadonlyMap<number, string> = new Map();

  constructor(
    private readonly directory: string,
    private readonly owner: ServerIdentity,
    private readonly sync: boolean,
  ) {}

  /** Where tablespaces lie, by their OID. Before anything below pg_tblspc is touched. */
  place(places: ReadonlyMap<number, string>): void {
    this.places = places;
  }

  /** Marks the directory as incomplete before anything else is touched, and takes the control file away. */
  async begin(): Promise<void> {
    const present = await ifPresent(readdir(this.directory));
    const ours = present?.some((name) => name === VERSION_FILE || name === INCOMPLETE_MARKER);
    if (present && present.length > 0 && !ours) {
      throw new BackupRefusedError('The directory to copy into holds something else. Empty it, or choose another.', {
        detail: this.directory,
      });
    }
    await ownedDirectory(this.directory, this.owner);
    await this.write(INCOMPLETE_MARKER, Buffer.from('This copy of a PostgreSQL cluster is not complete.\n'));
    await this.syncDirectory('');
    await this.in(CONTROL_FILE, (directory, name) => directory.remove(name)).catch((error: unknown) => {
      // No directory of its own, or a file or link in that one's place, which goes when the others are made: none to take.
      if (!['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) throw error;
    });
  }

  /** Makes directories and links, and removes what the manifest does not name. Keeps contents that may be used again. */
  async arrange(entries: readonly BackupEntry[]): Promise<void> {
    // Before the strays go: an old link may lead out of this standby's own folders.
    await this.makeDirectory('pg_tblspc');
    for (const [oid, location] of this.places) {
      await ownedDirectory(location, this.owner);
      // Relative, so that a clone of the whole folder leads into itself.
      const target = path.relative(path.join(this.directory, 'pg_tblspc'), location);
      await withDirectory(this.directory, ['pg_tblspc'], async (links) => {
        await links.remove(String(oid));
        await symlink(target, links.name(String(oid)));
      });
    }
    const root = await OpenDirectory.at(this.directory);
    const wanted = new Map(entries.map((entry) => [entry.path, entry]));
    await this.removeStrays(root, '', wanted).finally(() => root.close());
    for (const entry of entries) {
      if (entry.kind === 'directory') await this.makeDirectory(entry.path);
    }
  }

  /** The present size of a file; 0 when there is none. */
  async size(entry: BackupEntry): Promise<number> {
    const status = await ifPresent(this.in(entry.path, (directory, name) => lstat(directory.name(name))));
    return status?.isFile() ? status.size : 0;
  }

  /** To write to; made when there is none. */
  open(entry: BackupEntry): Promise<FileHandle> {
    return this.in(entry.path, async (directory, name) => {
      const handle = await open(directory.name(name), READ_WRITE, 0o600);
      try {
        if (!(await handle.stat()).isFile()) throw new NotPlainFileError(entry.path);
        if (this.owner.switched) await handle.chown(this.owner.uid, this.owner.gid);
        return handle;
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }

  /** To read what is there. */
  openPresent(entry: BackupEntry): Promise<FileHandle> {
    return this.in(entry.path, (directory, name) => openPlain(directory.name(name)));
  }

  /** Shortens a file that is longer than `size`; removes it when the source no longer has anything of it. */
  async cut(entry: BackupEntry, size: number): Promise<void> {
    if (size === 0 && entry.size > 0) {
      await ifPresent(this.in(entry.path, (directory, name) => directory.remove(name)));
    } else if ((await this.size(entry)) > size) {
      const handle = await this.open(entry);
      await handle.truncate(size).finally(() => handle.close());
    }
  }

  /** The last steps, in this order: all files on disk, label, control file, and only then the marker goes. */
  async complete(entries: readonly BackupEntry[], backupLabel: string, controlFile: Buffer): Promise<void> {
    if (this.sync) await this.syncFiles(entries);
    await this.write('backup_label', Buffer.from(backupLabel));
    await this.write(CONTROL_FILE, controlFile);
    for (const entry of entries) {
      if (entry.kind === 'directory') await this.syncDirectory(entry.path);
    }
    await this.syncDirectory('');
    await this.in(INCOMPLETE_MARKER, (directory, name) => directory.remove(name));
    await this.syncDirectory('');
  }

  /** Where a path's parts begin: in the data directory, or in the tablespace that it names. */
  private locate(relative: string): { base: string; steps: string[] } {
    const steps = relative === '' ? [] : relative.split('/');
    const place = steps[0] === 'pg_tblspc' ? this.places.get(Number(steps[1])) : undefined;
    return place === undefined ? { base: this.directory, steps } : { base: place, steps: steps.slice(2) };
  }

  private in<T>(relative: string, work: (directory: OpenDirectory, name: string) => Promise<T>): Promise<T> {
    const { base, steps } = this.locate(relative);
    return withDirectory(base, steps.slice(0, -1), (directory) => work(directory, steps.at(-1) ?? ''));
  }

  private async makeDirectory(relative: string): Promise<void> {
    // A tablespace's own directory has been made where it lies.
    if (this.locate(relative).steps.length === 0) return;
    await this.in(relative, async (directory, name) => {
      await mkdir(directory.name(name), { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
      const made = await directory.enter(name);
      await made.own(this.owner, 0o700).finally(() => made.close());
    });
  }

  private async removeStrays(
    directory: OpenDirectory,
    relative: string,
    wanted: ReadonlyMap<string, BackupEntry>,
  ): Promise<void> {
    for (const entry of await directory.entries()) {
      const child = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (child === INCOMPLETE_MARKER) continue;
      const place =
        relative === 'pg_tblspc' && entry.isSymbolicLink() ? this.places.get(Number(entry.name)) : undefined;
      const isDirectory = entry.isDirectory() || place !== undefined;
      const kind = isDirectory ? 'directory' : entry.isFile() ? 'file' : 'other';
      if (wanted.get(child)?.kind !== kind) {
        await directory.remove(entry.name);
      } else if (isDirectory) {
        const below = await (place === undefined ? directory.enter(entry.name) : OpenDirectory.at(place));
        await this.removeStrays(below, child, wanted).finally(() => below.close());
      }
    }
  }

  private write(relative: string, bytes: Buffer): Promise<void> {
    const { sync } = this;
    return this.in(relative, (directory, name) => directory.replace(name, bytes, this.owner, { sync }));
  }

  private async syncFiles(entries: readonly BackupEntry[]): Promise<void> {
    const files = entries.filter((entry) => entry.kind === 'file').values();
    const work = async () => {
      for (const entry of files) {
        const handle = await ifPresent(this.openPresent(entry));
        await handle?.datasync().finally(() => handle.close());
      }
    };
    await Promise.all(Array.from({ length: SYNCS_AT_ONCE }, work));
  }

  private async syncDirectory(relative: string): Promise<void> {
    if (!this.sync) return;
    const { base, steps } = this.locate(relative);
    await withDirectory(base, steps, (directory) => directory.sync());
  }
}

/** Where each of the source's tablespaces is to lie here. */
export async function placeTablespaces(
  tablespaces: readonly BackupTablespace[],
  place: ((tablespace: BackupTablespace) => Promise<string>) | undefined,
): Promise<Map<number, string>> {
  const places = new Map<number, string>();
  for (const tablespace of tablespaces) {
    if (!place) {
      throw new BackupRefusedError('The source has tablespaces, and this copy has no place for them.', {
        detail: tablespace.location,
      });
    }
    places.set(tablespace.oid, await place(tablespace));
  }
  return places;
}

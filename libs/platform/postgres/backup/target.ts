import { constants } from 'node:fs';
import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  type FileHandle,
} from 'node:fs/promises';
import path from 'node:path';
import { chownTo, ownedDirectory, type ServerIdentity } from '../identity.js';
import { BackupRefusedError } from './errors.js';
import { CONTROL_FILE, VERSION_FILE } from './layout.js';
import { ifPresent } from './listing.js';
import type { BackupEntry, BackupTablespace } from './wire.js';

/** Lies in a data directory for as long as it is not whole. No server of ours is started on one that holds it. */
export const INCOMPLETE_MARKER = 'mainstay-incomplete';
const SYNCS_AT_ONCE = 8;

/** True when a directory holds a backup that was cut off, so that no server may start on it. */
export async function isIncomplete(directory: string): Promise<boolean> {
  return (await ifPresent(stat(path.join(directory, INCOMPLETE_MARKER)))) !== undefined;
}

/** The data directory that a backup is received into: its files, owners, links and the order in which it becomes whole. */
export class BackupTarget {
  constructor(
    private readonly directory: string,
    private readonly identity: ServerIdentity,
    private readonly sync: boolean,
  ) {}

  /** Marks the directory as incomplete before anything else is touched, and takes the control file away. */
  async begin(): Promise<void> {
    const present = await ifPresent(readdir(this.directory));
    const ours = present?.some((name) => name === VERSION_FILE || name === INCOMPLETE_MARKER);
    if (present && present.length > 0 && !ours) {
      throw new BackupRefusedError('The directory to copy into holds something else. Empty it, or choose another.', {
        detail: this.directory,
      });
    }
    await ownedDirectory(this.directory, this.identity);
    await this.writeWhole(INCOMPLETE_MARKER, Buffer.from('This copy of a PostgreSQL cluster is not complete.\n'));
    await this.syncDirectory(this.directory);
    await rm(this.path(CONTROL_FILE), { force: true });
  }

  /** Makes directories and links, and removes what the manifest does not name. Keeps contents that may be used again. */
  async arrange(entries: readonly BackupEntry[], links: ReadonlyMap<number, string>): Promise<void> {
    // Before the strays go: an old link may lead out of this standby's own folders.
    await this.makeDirectory('pg_tblspc');
    for (const [oid, location] of links) {
      await ownedDirectory(location, this.identity);
      const link = this.path(`pg_tblspc/${oid}`);
      await rm(link, { recursive: true, force: true });
      // Relative, so that a clone of the whole folder leads into itself.
      await symlink(path.relative(path.dirname(link), location), link);
    }
    await this.removeStrays('', new Map(entries.map((entry) => [entry.path, entry])), links);
    for (const entry of entries) {
      if (entry.kind === 'directory') await this.makeDirectory(entry.path);
    }
  }

  /** The present size of a file; 0 when there is none. */
  async size(entry: BackupEntry): Promise<number> {
    const status = await ifPresent(stat(this.path(entry.path)));
    return status?.isFile() ? status.size : 0;
  }

  path(relative: string): string {
    return path.join(this.directory, relative);
  }

  async open(entry: BackupEntry): Promise<FileHandle> {
    const handle = await open(
      this.path(entry.path),
      constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW,
      0o600,
    );
    if (this.identity.switched) await handle.chown(this.identity.uid, this.identity.gid);
    return handle;
  }

  /** Shortens a file that is longer than `size`; removes it when the source no longer has anything of it. */
  async cut(entry: BackupEntry, size: number): Promise<void> {
    if (size === 0 && entry.size > 0) await rm(this.path(entry.path), { force: true });
    else if ((await this.size(entry)) > size) await truncate(this.path(entry.path), size);
  }

  /** The last steps, in this order: all files on disk, label, control file, and only then the marker goes. */
  async complete(entries: readonly BackupEntry[], backupLabel: string, controlFile: Buffer): Promise<void> {
    if (this.sync) await this.syncFiles(entries);
    await this.writeWhole('backup_label', Buffer.from(backupLabel));
    await this.writeWhole(CONTROL_FILE, controlFile);
    for (const entry of entries) {
      if (entry.kind === 'directory') await this.syncDirectory(this.path(entry.path));
    }
    await this.syncDirectory(this.directory);
    await rm(this.path(INCOMPLETE_MARKER), { force: true });
    await this.syncDirectory(this.directory);
  }

  private async makeDirectory(relative: string): Promise<void> {
    await mkdir(this.path(relative), { recursive: true, mode: 0o700 });
    await chmod(this.path(relative), 0o700);
    await chownTo(this.path(relative), this.identity);
  }

  private async removeStrays(
    relative: string,
    wanted: ReadonlyMap<string, BackupEntry>,
    links: ReadonlyMap<number, string>,
  ): Promise<void> {
    for (const name of (await ifPresent(readdir(this.path(relative)))) ?? []) {
      const child = relative === '' ? name : `${relative}/${name}`;
      if (child === INCOMPLETE_MARKER) continue;
      const status = await lstat(this.path(child));
      const isOurLink = status.isSymbolicLink() && relative === 'pg_tblspc' && links.has(Number(name));
      const kind = status.isDirectory() || isOurLink ? 'directory' : status.isFile() ? 'file' : 'other';
      if (wanted.get(child)?.kind !== kind) await rm(this.path(child), { recursive: true, force: true });
      else if (kind === 'directory') await this.removeStrays(child, wanted, links);
    }
  }

  private async writeWhole(relative: string, bytes: Buffer): Promise<void> {
    const fresh = this.path(`${relative}.new`);
    const handle = await open(fresh, 'w', 0o600);
    try {
      await handle.writeFile(bytes);
      if (this.identity.switched) await handle.chown(this.identity.uid, this.identity.gid);
      if (this.sync) await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, this.path(relative));
  }

  private async syncFiles(entries: readonly BackupEntry[]): Promise<void> {
    const files = entries.filter((entry) => entry.kind === 'file').values();
    const work = async () => {
      for (const entry of files) {
        const handle = await ifPresent(open(this.path(entry.path), 'r'));
        await handle?.datasync().finally(() => handle.close());
      }
    };
    await Promise.all(Array.from({ length: SYNCS_AT_ONCE }, work));
  }

  private async syncDirectory(directory: string): Promise<void> {
    if (!this.sync) return;
    const handle = await open(directory, 'r');
    await handle.sync().finally(() => handle.close());
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

/** How a volume makes snapshots; said in the site's health report. */
export type VolumeCapability = 'btrfs' | 'reflink' | 'copy';

export interface VolumeSnapshot {
  readonly volume: string;
  readonly name: string;
  readonly createdAt: Date;
}

/**
 * Where a site's data directories lie. Names are plain (letters, digits, `-`, `_`, `.`). Every operation may be
 * repeated after a crash: what is half made is not listed, and is made anew or removed by the next call.
 *
 * A snapshot is atomic only where the capability is `btrfs`: wrap that of a running server in a backup session.
 */
export interface Volume {
  readonly capability: VolumeCapability;
  /** Makes an empty volume (mode 0700, this process's own) unless it exists; answers its path. */
  create(name: string): Promise<string>;
  /** The path of a volume, whether it exists or not. */
  path(name: string): string;
  exists(name: string): Promise<boolean>;
  list(): Promise<readonly string[]>;
  /** Removes the volume and its snapshots. Nothing to do when there is none. */
  remove(name: string): Promise<void>;
  /** Bytes on disk, snapshots left out. */
  usage(name: string): Promise<number>;

  /** A read-only copy of the volume as it is now. Answers the present one when the name is taken. */
  snapshot(name: string, snapshotName: string): Promise<VolumeSnapshot>;
  snapshots(name: string): Promise<readonly VolumeSnapshot[]>;
  removeSnapshot(name: string, snapshotName: string): Promise<void>;
  /** A new, writable volume out of a snapshot; answers its path. @throws volume.exists (conflict) */
  clone(name: string, snapshotName: string, newName: string): Promise<string>;
}

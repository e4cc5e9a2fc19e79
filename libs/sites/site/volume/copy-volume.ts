import { mkdir, readdir, realpath, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import { keptDirectory, removeTree, runTool } from '#libs/platform/postgres';
import { VolumeExistsError, VolumeNameError, VolumeNotFoundError } from './errors.js';
import { directoryUsage } from './usage.js';
import type { Volume, VolumeSnapshot } from './volume.js';

const SNAPSHOTS = '.snapshots';
/** Half made: what bears it was cut off, and is removed by the next call that would make it. */
const PART = '.part';

/**
 * Volumes as plain directories: works on every file system, and a snapshot costs the time and the space of a copy. cp
 * shares the blocks by itself where the file system can. Links inside a volume should be relative, so that a clone's lead
 * into the clone.
 */
export class CopyVolume implements Volume {
  readonly capability = 'copy';

  /** @param root made when missing, passable for all, since each volume may be another user's; holds nothing else. */
  constructor(private readonly root: string) {}

  async create(name: string): Promise<string> {
    await mkdir(this.root, { recursive: true });
    await keptDirectory(await realpath(this.root));
    const volume = this.path(name);
    // Made for nobody; who has it already keeps it.
    await mkdir(volume, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    return volume;
  }

  path(name: string): string {
    return path.join(this.root, checked(name));
  }

  exists(name: string): Promise<boolean> {
    return isDirectory(this.path(name));
  }

  async list(): Promise<readonly string[]> {
    return (await names(this.root)).filter((name) => name !== SNAPSHOTS);
  }

  async remove(name: string): Promise<void> {
    // The snapshots go first: without the volume, nobody would find them again.
    await removeTree(this.snapshotRoot(name));
    await removeTree(this.path(name));
    await removeTree(`${this.path(name)}${PART}`);
  }

  usage(name: string): Promise<number> {
    return directoryUsage(this.path(name));
  }

  async snapshot(name: string, snapshotName: string): Promise<VolumeSnapshot> {
    if (!(await this.exists(name))) throw new VolumeNotFoundError(name);
    const target = this.snapshotPath(name, snapshotName);
    if (!(await isDirectory(target))) {
      await keptDirectory(path.join(this.root, SNAPSHOTS));
      await keptDirectory(this.snapshotRoot(name));
      await copyWhole(this.path(name), target);
    }
    return describe(name, snapshotName, target);
  }

  async snapshots(name: string): Promise<readonly VolumeSnapshot[]> {
    const found = await names(this.snapshotRoot(name));
    return Promise.all(found.map((each) => describe(name, each, this.snapshotPath(name, each))));
  }

  async removeSnapshot(name: string, snapshotName: string): Promise<void> {
    await removeTree(this.snapshotPath(name, snapshotName));
  }

  async clone(name: string, snapshotName: string, newName: string): Promise<string> {
    const source = this.snapshotPath(name, snapshotName);
    if (!(await isDirectory(source))) throw new VolumeNotFoundError(`${name}@${snapshotName}`);
    if (await this.exists(newName)) throw new VolumeExistsError(newName);
    await copyWhole(source, this.path(newName));
    return this.path(newName);
  }

  private snapshotRoot(name: string): string {
    return path.join(this.root, SNAPSHOTS, checked(name));
  }

  private snapshotPath(name: string, snapshotName: string): string {
    return path.join(this.snapshotRoot(name), checked(snapshotName));
  }
}

/** Copies beside the target and renames, so that the target is there whole or not at all. */
async function copyWhole(source: string, target: string): Promise<void> {
  const part = `${target}${PART}`;
  await removeTree(part);
  // Without switching to PostgreSQL's user: -a keeps owners and modes, which only root may give away.
  await runTool('cp', ['-a', source, part]);
  await rename(part, target);
}

async function describe(volume: string, name: string, directory: string): Promise<VolumeSnapshot> {
  // The rename that made it whole changed this time; nothing changes a snapshot afterwards.
  const { ctime } = await stat(directory);
  return { volume, name, createdAt: ctime };
}

async function names(directory: string): Promise<string[]> {
  const entries = (await ifPresent(readdir(directory, { withFileTypes: true }))) ?? [];
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.endsWith(PART))
    .map((entry) => entry.name)
    .sort();
}

async function isDirectory(directory: string): Promise<boolean> {
  return (await ifPresent(stat(directory)))?.isDirectory() ?? false;
}

/** @throws VolumeNameError for what could lead out of the root, or be taken for something of ours. */
function checked(name: string): string {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,120}$/.test(name) || name.endsWith(PART)) throw new VolumeNameError(name);
  return name;
}

import { chmod, lstat, open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/** What the files of a standing copy are: a recovery point, or the mixture that they are while one is laid out. */
export interface StandingNote {
  readonly state: 'whole' | 'being laid out';
  readonly snapshotId: string;
  readonly receivedAt: Date;
}

const noteOf = (folder: string): string => `${folder}.json`;

/**
 * Says beside the folder what is in it, for somebody at the site's host who has nobody to ask. Whole or not at all, and on
 * the disk before it answers. (Not in the folder: that is of the user as whom restic runs.)
 */
export async function writeNote(folder: string, note: StandingNote): Promise<void> {
  const made = `${noteOf(folder)}.new`;
  await rm(made, { force: true });
  const file = await open(made, 'wx', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(note, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(made, noteOf(folder));
  const parent = await open(path.dirname(folder), 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

export async function removeNote(folder: string): Promise<void> {
  await rm(noteOf(folder), { force: true });
}

/** A folder that the agency keeps from being written to is written to here: its owner may change that, restic does not. */
export async function openFolders(folder: string): Promise<void> {
  const { mode } = await lstat(folder);
  if ((mode & 0o700) !== 0o700) await chmod(folder, (mode & 0o7777) | 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await openFolders(path.join(folder, entry.name));
  }
}

/** What the files below a folder have, in bytes. */
export async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const at = path.join(folder, entry.name);
    if (entry.isDirectory()) bytes += await bytesIn(at);
    else if (entry.isFile()) bytes += (await lstat(at)).size;
  }
  return bytes;
}

import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { z } from 'zod';
import { Turns } from '#libs/platform/clock';
import { ifPresent } from '#libs/platform/errors';
import { AgentConfigurationError } from './errors.js';

/**
 * Replaces a file so that a crash at any moment leaves the old text or the new one, on the disk and not only in its
 * cache. Mode 0600, its directory 0700.
 */
export async function writeDurably(file: string, text: string): Promise<void> {
  const directory = path.dirname(file);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const fresh = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  await syncDirectory(directory);
}

/** Makes a rename or a removal in a directory survive a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * One JSON value in a file of the agent's state; undefined until the first {@link write}.
 *
 * @throws AgentConfigurationError when the file is there and does not fit: guessing what it said could cost data.
 */
export class DurableValue<T> {
  private readonly turns = new Turns();

  constructor(
    readonly file: string,
    private readonly schema: z.ZodType<T>,
  ) {}

  async read(): Promise<T | undefined> {
    const text = await ifPresent(readFile(this.file, 'utf8'));
    if (text === undefined) return undefined;
    try {
      return this.schema.parse(JSON.parse(text));
    } catch (cause) {
      throw new AgentConfigurationError(
        `The file ${this.file} of the agent's state is damaged. Put it back from a backup; do not delete it without asking support, since it may hold a fencing epoch.`,
        { cause },
      );
    }
  }

  /** One after the other: the last value given is the one that stays. */
  write(value: T): Promise<void> {
    const text = `${JSON.stringify(value, null, 2)}\n`;
    return this.turns.take(() => writeDurably(this.file, text));
  }

  async clear(): Promise<void> {
    await rm(this.file, { force: true });
    await ifPresent(syncDirectory(path.dirname(this.file)));
  }
}

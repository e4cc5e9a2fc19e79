import { appendFile, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { ifPresent } from '../../errors/index.js';
import {
  backupEntry,
  backupFinish,
  backupSession,
  type BackupEntry,
  type BackupFinish,
  type BackupSession,
} from './wire.js';

const record = z.object({
  session: backupSession,
  /** Of the machine: after a power cut, what was written may not be on the disk, and is compared by hash. */
  bootId: z.string(),
  startedAt: z.coerce.date(),
  bytesTransferred: z.number(),
  finish: backupFinish.nullable(),
  complete: z.boolean(),
});
export type ReceiptRecord = z.infer<typeof record>;

/** A stretch of one file that is in place; `entry` is its place in the manifest. */
export interface DoneRange {
  readonly entry: number;
  readonly offset: number;
  readonly length: number;
}

const RECORD = 'receipt.json';
const MANIFEST = 'manifest.ndjson';
const DONE = 'done.log';
/** Ends each line of it: a number that was cut short is a number, too. */
const END = '.';
const DONE_LINE = /^(\d+) (\d+) (\d+) \.$/gm;

/**
 * What a receiver remembers of a copy, in a directory of its own beside the data: the session, its manifest, and which
 * stretches are in place. Written so that a kill at any point leaves the old or the new state.
 */
export class Receipt {
  constructor(private readonly directory: string) {}

  async load(): Promise<ReceiptRecord | undefined> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const text = await ifPresent(readFile(this.file(RECORD), 'utf8'));
    if (text === undefined) return undefined;
    const parsed = record.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  }

  /** Forgets the former session's manifest and progress, and begins with another. */
  async restart(session: BackupSession, bootId: string, former: ReceiptRecord | undefined): Promise<ReceiptRecord> {
    await rm(this.file(RECORD), { force: true });
    await rm(this.file(MANIFEST), { force: true });
    await writeFile(this.file(DONE), '', { mode: 0o600 });
    const fresh: ReceiptRecord = {
      session,
      bootId,
      startedAt: former?.startedAt ?? new Date(),
      bytesTransferred: former?.bytesTransferred ?? 0,
      finish: null,
      complete: false,
    };
    return fresh;
  }

  async save(value: ReceiptRecord): Promise<void> {
    await this.replace(RECORD, JSON.stringify(value));
  }

  async saveFinish(value: ReceiptRecord, finish: BackupFinish): Promise<ReceiptRecord> {
    const next = { ...value, finish };
    await this.save(next);
    return next;
  }

  async saveManifest(entries: readonly BackupEntry[]): Promise<void> {
    await this.replace(MANIFEST, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  }

  async manifest(): Promise<BackupEntry[] | undefined> {
    const text = await ifPresent(readFile(this.file(MANIFEST), 'utf8'));
    if (text === undefined) return undefined;
    const lines = text.split('\n').filter((line) => line !== '');
    return lines.map((line) => backupEntry.parse(JSON.parse(line)));
  }

  async markDone(ranges: readonly DoneRange[]): Promise<void> {
    const lines = ranges.map(({ entry, offset, length }) => `${entry} ${offset} ${length} ${END}\n`);
    // Begun on a line of its own: the last one may have been cut short, by a kill or by a full disk.
    await appendFile(this.file(DONE), `\n${lines.join('')}`, { mode: 0o600 });
  }

  async done(): Promise<DoneRange[]> {
    const text = (await ifPresent(readFile(this.file(DONE), 'utf8'))) ?? '';
    return [...text.matchAll(DONE_LINE)].map(([, entry, offset, length]) => ({
      entry: Number(entry),
      offset: Number(offset),
      length: Number(length),
    }));
  }

  /** Removes all of it: the next copy into the same directory starts from what lies there. */
  async forget(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  private file(name: string): string {
    return path.join(this.directory, name);
  }

  private async replace(name: string, text: string): Promise<void> {
    const fresh = await open(this.file(`${name}.new`), 'w', 0o600);
    try {
      await fresh.writeFile(text);
      await fresh.sync();
    } finally {
      await fresh.close();
    }
    await rename(this.file(`${name}.new`), this.file(name));
  }
}

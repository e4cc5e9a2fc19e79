import { createCipheriv, randomBytes } from 'node:crypto';
import { mkdir, open, writeFile } from 'node:fs/promises';
import path from 'node:path';

const LARGE_BYTES = 32 * 2 ** 20;
const EDIT_BYTES = 2 ** 20;
const DOCUMENT_BYTES = 256 * 2 ** 10;
/** Of the tree's bytes. */
const LARGE_SHARE = 0.7;
/** Of a day's bytes; the rest is written into the large files. */
const NEW_SHARE = 0.5;
const REWRITTEN_SHARE = 0.25;
const IN_ONE_FOLDER = 200;
const TURN_BYTES = 32;
/** Twice as long as a turn. */
const FORM = 'Application for a permit to build; name and address of the owner';

export interface Day {
  /** Bytes that were written. */
  readonly changedBytes: number;
  /** The files that have changed, whole: what who compares whole files must send. */
  readonly files: readonly string[];
  readonly fileBytes: number;
}

/**
 * A share as offices have it: seven tenths in files of 32 MiB that do not compress (images, scans, databases), the rest in
 * documents of 256 KiB that compress to half.
 */
export class Tree {
  private readonly large: string[] = [];
  private readonly documents: string[] = [];
  private days = 0;

  constructor(readonly folder: string) {}

  get bytes(): number {
    return this.large.length * LARGE_BYTES + this.documents.length * DOCUMENT_BYTES;
  }

  get files(): number {
    return this.large.length + this.documents.length;
  }

  async create(bytes: number): Promise<void> {
    for (let made = 0; made < bytes * LARGE_SHARE; made += LARGE_BYTES) await this.addLarge();
    await this.addDocuments(Math.max(1, Math.round((bytes - this.bytes) / DOCUMENT_BYTES)));
  }

  /** A day's work, spread over the tree: new documents, documents written anew, and 1 MiB somewhere in large files. */
  async change(bytes: number): Promise<Day> {
    this.days += 1;
    const edits = Math.max(1, Math.round((bytes * (1 - NEW_SHARE - REWRITTEN_SHARE)) / EDIT_BYTES));
    const rewritten = spread(
      this.documents,
      Math.max(1, Math.round((bytes * REWRITTEN_SHARE) / DOCUMENT_BYTES)),
      this.days,
    );
    const edited = spread(this.large, edits, this.days);
    for (const file of rewritten) await writeFile(file, documentBytes());
    for (const file of edited) await overwrite(file);
    const added = await this.addDocuments(Math.max(1, Math.round((bytes * NEW_SHARE) / DOCUMENT_BYTES)));
    const documents = rewritten.length + added.length;
    return {
      changedBytes: documents * DOCUMENT_BYTES + edited.length * EDIT_BYTES,
      files: [...rewritten, ...edited, ...added],
      fileBytes: documents * DOCUMENT_BYTES + edited.length * LARGE_BYTES,
    };
  }

  private async addLarge(): Promise<void> {
    const file = await this.place('large', this.large, 'bin');
    await writeFile(file, incompressible(LARGE_BYTES));
    this.large.push(file);
  }

  private async addDocuments(count: number): Promise<string[]> {
    const added: string[] = [];
    for (let number = 0; number < count; number += 1) {
      const file = await this.place('documents', this.documents, 'txt');
      await writeFile(file, documentBytes());
      this.documents.push(file);
      added.push(file);
    }
    return added;
  }

  private async place(kind: string, present: readonly string[], ending: string): Promise<string> {
    const folder = path.join(this.folder, kind, String(Math.floor(present.length / IN_ONE_FOLDER)));
    if (present.length % IN_ONE_FOLDER === 0) await mkdir(folder, { recursive: true });
    return path.join(folder, `${present.length}.${ending}`);
  }
}

/** So many of them at equal distances, others on each day; all when there are fewer. */
function spread(files: readonly string[], count: number, day: number): string[] {
  const step = Math.max(1, Math.floor(files.length / count));
  return files.filter((_, index) => index % step === day % step).slice(0, count);
}

async function overwrite(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(incompressible(EDIT_BYTES), 0, EDIT_BYTES, LARGE_BYTES / 2);
  } finally {
    await handle.close();
  }
}

/** A form's words and what was filled in, in turns. */
function documentBytes(): Buffer {
  const page = Buffer.alloc(DOCUMENT_BYTES, FORM);
  const filledIn = incompressible(DOCUMENT_BYTES / 2);
  for (let at = 0; at < page.length; at += 2 * TURN_BYTES) {
    filledIn.copy(page, at, at / 2, at / 2 + TURN_BYTES);
  }
  return page;
}

/** Random bytes, ten times faster than the system gives them out. */
function incompressible(bytes: number): Buffer {
  return createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16)).update(Buffer.alloc(bytes));
}

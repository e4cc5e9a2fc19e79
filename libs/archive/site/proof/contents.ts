import { createHash } from 'node:crypto';
import { PATHS_SEEN, type Proof } from '#contracts/archive';
import { headOf } from './restored-files.js';
import { HEAD_BYTES, keeps, promisedBy } from './signatures.js';

/** Files of the newest, and as many of all. */
const EACH = 200;

export type Contents = NonNullable<Proof['contents']>;

/** A file of a snapshot, as restic lists it. */
export interface ListedFile {
  readonly path: string;
  readonly bytes: number;
  /** When it was last written to, in milliseconds: by the system's clock where the list has that, else as the file says. */
  readonly changedAt: number;
}

interface Ranked {
  readonly path: string;
  readonly rank: string | number;
}

/**
 * Chooses files whose names promise something of their contents: those that were changed last, since a run that changes
 * many shows there; and as many of all, by a hash of their names, so that the proofs of an archive look at the same ones
 * and nobody outside knows which. Memory does not grow with the tree.
 */
export class ContentSample {
  private newest: Ranked[] = [];
  private spread: Ranked[] = [];

  /** @param salt of the archive */
  constructor(private readonly salt: string) {}

  offer({ path, bytes, changedAt }: ListedFile): void {
    if (!promisedBy(path, bytes)) return;
    this.newest.push({ path, rank: -changedAt });
    const hash = createHash('sha256').update(`${this.salt}\0${path}`).digest('hex');
    this.spread.push({ path, rank: hash });
    if (this.newest.length > 4 * EACH) this.cut();
  }

  get paths(): readonly string[] {
    this.cut();
    return [...new Set([...this.newest, ...this.spread].map(({ path }) => path))];
  }

  private cut(): void {
    const first = (files: Ranked[]) => files.sort((a, b) => (a.rank < b.rank ? -1 : 1)).slice(0, EACH);
    this.newest = first(this.newest);
    this.spread = first(this.spread);
  }
}

/** How many of these files of the restored tree do not begin as their names promise. */
export async function lookAtContents(root: string, paths: readonly string[], signal: AbortSignal): Promise<Contents> {
  const wrong: string[] = [];
  let looked = 0;
  for (const path of paths) {
    signal.throwIfAborted();
    const head = await headOf(root, path, HEAD_BYTES);
    const promised = head && promisedBy(path, head.length);
    if (!promised) continue;
    looked += 1;
    if (!keeps(promised, head)) wrong.push(path);
  }
  return { looked, wrong: wrong.length, paths: wrong.slice(0, PATHS_SEEN) };
}

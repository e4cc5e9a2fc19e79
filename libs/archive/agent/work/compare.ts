import path from 'node:path';
import { diffChange, diffStatistics } from '../restic/messages.js';
import type { Repository } from '../restic/repository.js';

const REMOVED_TOLD = 100;
/** Beyond so many, renames are no longer paired: the counts alone say that something is wrong. */
const PAIRED = 200_000;

export interface Change {
  readonly filesRemoved: number;
  readonly removed: string[];
  readonly renamedCount: number;
}

/**
 * What is no longer there since an earlier snapshot. A file counts as renamed when another one came to its folder with
 * the same stem, or with its name and more: `plan.doc` → `plan.pdf`, `plan.doc.locked`.
 *
 * @returns undefined without an earlier one, or when it is gone from the repository
 */
export async function compare(
  repository: Repository,
  earlier: string | undefined,
  later: string,
): Promise<Change | undefined> {
  if (earlier === undefined) return undefined;
  const removed: string[] = [];
  const added = new Set<string>();
  let filesRemoved: number | undefined;
  const end = await repository.call(['diff', earlier, later], {
    unlocked: true,
    onMessage: (message) => {
      const change = diffChange.safeParse(message);
      if (change.success && !change.data.path.endsWith('/')) {
        const { path: file, modifier } = change.data;
        if (modifier === '-' && removed.length < PAIRED) removed.push(file);
        if (modifier === '+' && added.size < PAIRED) for (const stem of stems(file)) added.add(stem);
      }
      const statistics = diffStatistics.safeParse(message);
      if (statistics.success) filesRemoved = statistics.data.removed.files;
    },
  });
  repository.signal.throwIfAborted();
  if (end.code !== 0 || filesRemoved === undefined) return undefined;
  const renamedCount = removed.filter((file) => stems(file).some((stem) => added.has(stem))).length;
  return { filesRemoved, removed: removed.slice(0, REMOVED_TOLD), renamedCount };
}

/** A path without each of its extensions: `/a/plan.doc.locked` → itself, `/a/plan.doc`, `/a/plan`. */
function stems(file: string): string[] {
  const found = [file];
  for (;;) {
    const last = found.at(-1) ?? file;
    const { dir, name, ext } = path.posix.parse(last);
    if (ext === '') return found;
    found.push(path.posix.join(dir, name));
  }
}

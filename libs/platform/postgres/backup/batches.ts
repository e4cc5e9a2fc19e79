import type { DoneRange } from './receipt.js';
import { BLOCK_BYTES, type BackupEntry } from './wire.js';

/** Stretches of files that are asked for at once. */
export type Batch = readonly DoneRange[];

const RANGES_MAX = 256;

/**
 * Cuts what is not in place yet into batches of about `batchBytes`, in the manifest's order: many small files or a piece
 * of a large one, so that neither costs a round trip for itself.
 */
export function* planBatches(
  entries: readonly BackupEntry[],
  done: readonly DoneRange[],
  batchBytes: number,
): Generator<Batch> {
  const doneByEntry = Map.groupBy(done, (range) => range.entry);
  let batch: DoneRange[] = [];
  let bytes = 0;
  for (const [index, entry] of entries.entries()) {
    if (entry.kind !== 'file') continue;
    for (const gap of gaps(entry.size, doneByEntry.get(index) ?? [])) {
      for (let offset = gap.offset; offset < gap.end;) {
        const room = Math.max(BLOCK_BYTES, Math.floor((batchBytes - bytes) / BLOCK_BYTES) * BLOCK_BYTES);
        const length = Math.min(room, gap.end - offset);
        batch.push({ entry: index, offset, length });
        bytes += length;
        offset += length;
        if (bytes >= batchBytes || batch.length >= RANGES_MAX) {
          yield batch;
          batch = [];
          bytes = 0;
        }
      }
    }
  }
  if (batch.length > 0) yield batch;
}

/** Of a batch, what is to be transferred: blocks whose hashes differ, neighbours joined. */
export function differing(
  batch: Batch,
  ours: readonly (readonly string[])[],
  theirs: readonly (readonly string[])[],
): Batch {
  return batch.flatMap((range, at) => {
    const found: DoneRange[] = [];
    const [mine = [], other = []] = [ours[at], theirs[at]];
    for (let block = 0; block * BLOCK_BYTES < range.length; block++) {
      if (mine[block] !== undefined && mine[block] === other[block]) continue;
      const offset = range.offset + block * BLOCK_BYTES;
      const length = Math.min(BLOCK_BYTES, range.offset + range.length - offset);
      const last = found.at(-1);
      if (last && last.offset + last.length === offset) {
        found[found.length - 1] = { ...last, length: last.length + length };
      } else {
        found.push({ entry: range.entry, offset, length });
      }
    }
    return found;
  });
}

function gaps(size: number, done: readonly DoneRange[]): { offset: number; end: number }[] {
  const found: { offset: number; end: number }[] = [];
  let at = 0;
  for (const range of done.toSorted((a, b) => a.offset - b.offset)) {
    if (range.offset > at) found.push({ offset: at, end: range.offset });
    at = Math.max(at, range.offset + range.length);
  }
  if (at < size) found.push({ offset: at, end: size });
  return found;
}

import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { ifPresent } from '#libs/platform/errors';
import type { ListedFile } from './contents.js';

/** A line of `restic ls --json`: a file, folder or other thing of a snapshot. */
const node = z.object({
  message_type: z.literal('node'),
  type: z.string(),
  path: z.string(),
  size: z.number().int().nonnegative().optional(),
  mtime: z.string().optional(),
  ctime: z.string().optional(),
});

export interface TreeFindings {
  readonly files: number;
  readonly bytes: number;
  /** Things that are neither file, folder nor link: devices and the like, which only root could make. */
  readonly others: number;
  /** Of what differs, the first ones. */
  readonly differences: readonly string[];
  readonly differing: number;
}

const DIFFERENCES_KEPT = 20;
/** So many looks at the disk at a time. */
const AT_ONCE = 64;

/**
 * Compares what was restored below `root` with the snapshot's own list: each thing is there, of its type and size. What the
 * files hold, restic's `--verify` has hashed. Memory does not grow with the tree.
 *
 * @param onFile is shown each file of the list
 */
export async function compareTree(
  listing: Readable,
  root: string,
  onFile: (file: ListedFile) => void,
): Promise<TreeFindings> {
  const found = { files: 0, bytes: 0, others: 0, differing: 0, differences: [] as string[] };
  const compare = async (line: string): Promise<void> => {
    const parsed = node.safeParse(JSON.parse(line));
    if (!parsed.success) return;
    const { type, path: name, size = 0, ctime, mtime } = parsed.data;
    if (type === 'file') {
      found.files += 1;
      found.bytes += size;
      onFile({ path: name, bytes: size, changedAt: Date.parse(ctime ?? mtime ?? '') || 0 });
    } else if (type !== 'dir' && type !== 'symlink') {
      found.others += 1;
      return;
    }
    const difference = await differenceOf(root, name, type, size);
    if (!difference) return;
    found.differing += 1;
    if (found.differences.length < DIFFERENCES_KEPT) found.differences.push(`${name}: ${difference}`);
  };
  let batch: Promise<void>[] = [];
  for await (const line of createInterface({ input: listing, crlfDelay: Infinity })) {
    if (line === '') continue;
    batch.push(compare(line));
    if (batch.length < AT_ONCE) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
  return found;
}

async function differenceOf(root: string, name: string, type: string, size: number): Promise<string | undefined> {
  // The list was written by the agency's machine.
  if (path.posix.normalize(name) !== name || !name.startsWith('/')) return 'its name leads elsewhere';
  const present = await ifPresent(lstat(path.join(root, name)));
  if (!present) return 'not restored';
  const kind = present.isFile() ? 'file' : present.isDirectory() ? 'dir' : present.isSymbolicLink() ? 'symlink' : '';
  if (kind !== type) return `restored as ${kind || 'something else'}`;
  return type === 'file' && present.size !== size ? `${present.size} of ${size} bytes` : undefined;
}

import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import type { listTreeCommand, TreeEntry } from '#contracts/archive';
import type { AgentWorkload, StateDirectory } from '#libs/sites/agent';
import type { z } from 'zod';
import { CustomerKey } from './customer-key.js';
import { listedNode, type ListedNode } from './restic/messages.js';
import { findRestic } from './restic/program.js';
import { Repository } from './restic/repository.js';

export interface TreePlace {
  readonly workload: AgentWorkload;
  readonly restic: string | undefined;
  readonly state: StateDirectory;
}

type TreeQuestion = z.infer<typeof listTreeCommand.input>;

/**
 * One page of a folder of a snapshot, in the order of names. restic reads the whole folder each time; what is not of this
 * page is let go at once.
 *
 * @throws ArchiveWorkError
 */
export async function listTree(
  { workload, restic, state }: TreePlace,
  { access, snapshotId, path, after, limit }: TreeQuestion,
  signal: AbortSignal,
): Promise<z.infer<typeof listTreeCommand.output>> {
  const directory = state.archive('running', randomUUID());
  await mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    const key = new CustomerKey(state, workload.name);
    const repository = await Repository.open(
      { restic: await findRestic(restic), access, directory, cacheDirectory: state.archive('cache'), key, signal },
      { create: false },
    );
    const page: TreeEntry[] = [];
    let more = false;
    const inside = path === '/' ? '/' : `${path.replace(/\/$/, '')}/`;
    await repository.require(['ls', snapshotId, path], {
      unlocked: true,
      onMessage: (message) => {
        const node = listedNode.safeParse(message);
        if (!node.success || node.data.path !== inside + node.data.name) return;
        if (after !== null && node.data.name <= after) return;
        more ||= insert(page, entryOf(node.data), limit);
      },
    });
    return { entries: page, more };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Keeps the first so many, in order. @returns whether one had to go */
function insert(page: TreeEntry[], entry: TreeEntry, limit: number): boolean {
  let at = page.length;
  while (at > 0 && (page[at - 1]?.name ?? '') > entry.name) at -= 1;
  page.splice(at, 0, entry);
  if (page.length <= limit) return false;
  page.pop();
  return true;
}

function entryOf({ name, type, size, mtime }: ListedNode): TreeEntry {
  const moment = mtime === undefined ? Number.NaN : Date.parse(mtime);
  return {
    name,
    type: type === 'file' || type === 'dir' || type === 'symlink' ? type : 'other',
    bytes: type === 'file' ? (size ?? 0) : null,
    modifiedAt: Number.isNaN(moment) ? null : new Date(moment).toISOString(),
  };
}

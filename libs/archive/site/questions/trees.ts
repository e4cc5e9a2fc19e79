import type { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { listTreeCommand, type TreeEntry } from '#contracts/archive';
import { NotFoundError } from '#libs/platform/errors';
import { AgentCommands } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { ArchivePrunedError, CustomerHeldError } from '../archives.errors.js';
import { SiteRestic } from '../restic/site-restic.js';
import { Readers } from '../retention/readers.js';
import { AgentWorks } from '../runs/agent-works.js';
import { callHinted } from '../runs/hinted-calls.js';

const node = z.object({
  message_type: z.literal('node'),
  name: z.string(),
  type: z.string(),
  path: z.string(),
  size: z.number().optional(),
  mtime: z.string().optional(),
});
type Node = z.infer<typeof node>;

export interface TreePage {
  readonly snapshotId: string;
  readonly path: string;
  readonly after: string | null;
  readonly limit: number;
}

const TYPES = ['file', 'dir', 'symlink'] as const;
/** A page of a folder is read in seconds; a folder of millions of entries takes longer, and then says so. */
const LIST_MS = 20_000;
const CREDENTIAL_SECONDS = 120;
/** The folder that holds everything. */
const ROOT = '/';

/** What lies in a recovery point: read at the site where the key is escrowed, at the agent where only it can. */
@Injectable()
export class Trees {
  constructor(
    private readonly restic: SiteRestic,
    private readonly agents: AgentWorks,
    private readonly commands: AgentCommands,
    private readonly readers: Readers,
  ) {}

  /**
   * One folder's entries in the order of their names.
   *
   * @throws NotFoundError for a folder that is not in it; ArchivePrunedError
   */
  async list(
    archive: ArchiveRow,
    page: TreePage,
    signal: AbortSignal,
  ): Promise<{ entries: TreeEntry[]; more: boolean }> {
    if (archive.keyMode === 'customer-held') return this.askAgent(archive, page, signal);
    const wanted = normal(page.path);
    const entries: TreeEntry[] = [];
    let found = wanted === ROOT;
    const nodes = await this.readers.read(archive.archiveId, () =>
      this.nodes(archive, page.snapshotId, wanted, signal),
    );
    if (!nodes) throw new ArchivePrunedError();
    for (const each of nodes) {
      if (each.path === wanted) {
        if (each.type !== 'dir') throw new NotFoundError('folder');
        found = true;
      } else if (page.after === null || Buffer.compare(Buffer.from(each.name), Buffer.from(page.after)) > 0) {
        entries.push(entryOf(each));
      }
    }
    if (!found) throw new NotFoundError('folder');
    entries.sort((one, other) => Buffer.compare(Buffer.from(one.name), Buffer.from(other.name)));
    return { entries: entries.slice(0, page.limit), more: entries.length > page.limit };
  }

  /** One file's bytes: nothing is pruned until they are read, or given up. @throws NotFoundError, CustomerHeldError, ArchivePrunedError */
  async file(
    archive: ArchiveRow,
    { snapshotId, path }: Pick<TreePage, 'snapshotId' | 'path'>,
    signal: AbortSignal,
  ): Promise<{ stream: Readable; length: number | null }> {
    if (archive.keyMode === 'customer-held') throw new CustomerHeldError('hand a file out');
    const leave = this.readers.enter(archive.archiveId);
    if (!leave) throw new ArchivePrunedError();
    try {
      const file = await this.open(archive, snapshotId, path, signal);
      file.stream.once('close', leave);
      return file;
    } catch (error) {
      leave();
      throw error;
    }
  }

  private async open(archive: ArchiveRow, snapshotId: string, path: string, signal: AbortSignal) {
    const wanted = normal(path);
    let length: number | undefined;
    for (const each of await this.nodes(archive, snapshotId, wanted, signal)) {
      // Of a folder restic would make an archive file.
      if (each.path === wanted && each.type === 'file') length = each.size ?? 0;
    }
    if (length === undefined) throw new NotFoundError('file');
    const args = ['dump', '--no-lock', snapshotId, wanted];
    const stream = this.restic.stream(archive.archiveId, args, { role: 'read', purpose: 'a file to hand out', signal });
    return { stream, length };
  }

  private async nodes(
    { archiveId }: ArchiveRow,
    snapshotId: string,
    path: string,
    signal: AbortSignal,
  ): Promise<readonly Node[]> {
    const nodes: Node[] = [];
    await this.restic.run(archiveId, ['ls', '--json', '--no-lock', snapshotId, path], {
      role: 'read',
      purpose: 'looking into a recovery point',
      signal: AbortSignal.any([signal, AbortSignal.timeout(LIST_MS)]),
      onLine: (json) => {
        const parsed = node.safeParse(json);
        if (parsed.success) nodes.push(parsed.data);
      },
    });
    return nodes;
  }

  private async askAgent(
    archive: ArchiveRow,
    page: TreePage,
    signal: AbortSignal,
  ): Promise<{ entries: TreeEntry[]; more: boolean }> {
    const { archiveId, agentId, workloadId, workloadName } = archive;
    const credential = await this.agents.credential(archiveId, 'read', CREDENTIAL_SECONDS);
    try {
      const access = await this.agents.access(archive, credential, 'looking into a recovery point');
      const input = { workloadId, workloadName, access, ...page };
      return await callHinted(this.commands, agentId, listTreeCommand, input, { timeoutMs: LIST_MS, signal });
    } finally {
      await this.agents.end(credential.credentialId);
    }
  }
}

const normal = (path: string): string => (path === ROOT ? ROOT : path.replace(/\/+$/, ''));

function entryOf({ name, type, size, mtime }: Node): TreeEntry {
  const known = TYPES.find((each) => each === type);
  const modified = mtime === undefined ? Number.NaN : Date.parse(mtime);
  return {
    name,
    type: known ?? 'other',
    bytes: known === 'file' ? (size ?? 0) : null,
    modifiedAt: Number.isNaN(modified) ? null : new Date(modified).toISOString(),
  };
}

import { Injectable } from '@nestjs/common';
import path from 'node:path';
import { z } from 'zod';
import { DomainError } from '#libs/platform/errors';
import type { PointRow } from '../points/points.service.js';
import { ResticFailedError } from '../restic/restic.errors.js';
import { SiteRestic } from '../restic/site-restic.js';
import type { ListedFile } from './contents.js';
import { compareTree, type TreeFindings } from './tree-comparison.js';

const PURPOSE = 'proving a recovery point';
const stats = z.object({ total_size: z.number().nonnegative(), total_file_count: z.number().nonnegative() });

/**
 * What only root may make, so it fails for us: devices, and attributes of the system's. The agency's agent, which restores
 * as root, makes them.
 */
const NOT_OURS = /\b(mknod|l?setxattr|xattr)\b.*(operation not permitted|not supported)/i;
// restic 0.18 ends it with a line break, which stands as two characters in its JSON.
const LAST_WORD = /^(Fatal: )?There were \d+ errors(\\n|\s)*$/;

/** What was restored is not what the snapshot says. */
export class RestoreDiffersError extends DomainError {
  constructor(what: string) {
    super('internal', 'proof.differs', `The restored files are not those of the recovery point: ${what}`);
  }
}

/** Restores a snapshot whole, and compares. */
@Injectable()
export class FileProof {
  constructor(private readonly restic: SiteRestic) {}

  /** How many bytes its files have, by its own tree; never by what the agency's machine told us. */
  async bytesOf(archiveId: string, snapshotId: string, signal: AbortSignal): Promise<number> {
    let bytes: number | undefined;
    await this.restic.run(archiveId, ['stats', '--json', '--no-lock', '--mode', 'restore-size', snapshotId], {
      role: 'read',
      purpose: PURPOSE,
      signal,
      onLine: (line) => (bytes = stats.parse(line).total_size),
    });
    return z.number().parse(bytes);
  }

  /**
   * @param folder of {@link ProofScratch}: afterwards its `files` holds the snapshot
   * @param onFile is shown each file of the snapshot
   * @throws RestoreDiffersError, ResticFailedError
   */
  async restore(
    { archiveId, snapshotId }: Pick<PointRow, 'archiveId' | 'snapshotId'>,
    folder: string,
    signal: AbortSignal,
    onFile: (file: ListedFile) => void,
  ): Promise<TreeFindings> {
    const target = path.join(folder, 'files');
    // restic reads each file again and hashes it (`--verify`).
    const args = ['restore', '--json', '--no-lock', '--verify', '--target', target, snapshotId];
    await this.restic
      .run(archiveId, args, { role: 'read', purpose: PURPOSE, signal, onLine: () => undefined })
      .catch((error: unknown) => {
        if (!(error instanceof ResticFailedError) || !onlyRootCould(error)) throw error;
      });
    const listing = this.restic.stream(archiveId, ['ls', '--json', '--no-lock', snapshotId], {
      role: 'read',
      purpose: PURPOSE,
      signal,
    });
    const found = await compareTree(listing, target, onFile);
    if (found.differing > 0) throw new RestoreDiffersError(`${found.differing}, such as ${found.differences[0]}`);
    return found;
  }
}

const onlyRootCould = ({ exitCode, messages }: ResticFailedError): boolean =>
  exitCode === 1 && messages.every((message) => NOT_OURS.test(message) || LAST_WORD.test(message));

import path from 'node:path';
import { Injectable } from '@nestjs/common';
import { storable } from '#contracts/sites';
import { SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import type { PointRow } from '../points/points.service.js';
import { lookAtContents } from './contents.js';
import { hashOf } from './restored-files.js';
import { NOTHING_SEEN, type Seen, type SeenCanary } from './seen.js';

interface Known {
  readonly path: string;
  readonly sha256: string | null;
  readonly receivedAt: Date;
}

/** Looks at what a proof has restored, and keeps it until it is compared with what earlier proofs saw. */
@Injectable()
export class Sightings {
  constructor(private readonly work: SiteUnitOfWork) {}

  /** @param folder of the proof, whose `files` holds the recovery point; @param sample paths in it */
  async ofFiles(
    archive: ArchiveRow,
    point: PointRow,
    { folder, sample, signal }: { folder: string; sample: readonly string[]; signal: AbortSignal },
  ): Promise<Seen> {
    const root = path.join(folder, 'files');
    const contents = await lookAtContents(root, sample, signal);
    const hashes = new Map<string, string | null>();
    for (const name of archive.policy.canaries ?? []) hashes.set(name, (await hashOf(root, name, signal)) ?? null);
    const seen = { ...NOTHING_SEEN, contents, canaries: await this.compare(point, hashes) };
    await this.keep(point, seen);
    return seen;
  }

  /** Safe to repeat. What no run of ours made is not compared with runs. */
  async keep({ archiveId, snapshotId }: PointRow, seen: Seen): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE archive_point SET seen = $3, seen_new = run_id IS NOT NULL WHERE archive_id = $1 AND snapshot_id = $2`,
        [archiveId, snapshotId, JSON.stringify(storable(seen))],
      ),
    );
  }

  /** With how the canaries are known. What is seen for the first time is how they are known from now on. */
  private compare(
    { archiveId, runId, receivedAt }: PointRow,
    hashes: ReadonlyMap<string, string | null>,
  ): Promise<readonly SeenCanary[]> {
    return this.work.run(async (tx) => {
      const rows = await tx.query<Known>(
        `SELECT path, sha256, received_at AS "receivedAt" FROM archive_canary WHERE archive_id = $1 FOR UPDATE`,
        [archiveId],
      );
      const known = new Map(rows.map((row) => [row.path, row]));
      const seen = [...hashes].map(([name, sha256]) => ({
        path: name,
        sha256,
        state: stateOf(sha256, known.get(name), { runId, receivedAt }),
      }));
      for (const { path: name, sha256, state } of seen) {
        if (state !== 'learnt') continue;
        await tx.execute(
          `UPDATE archive_canary SET sha256 = $3, received_at = $4 WHERE archive_id = $1 AND path = $2`,
          [archiveId, name, sha256, receivedAt],
        );
      }
      return seen;
    });
  }
}

function stateOf(
  sha256: string | null,
  known: Known | undefined,
  { runId, receivedAt }: Pick<PointRow, 'runId' | 'receivedAt'>,
): SeenCanary['state'] {
  // Whoever has stolen a credential may say anything of it.
  if (runId === null) return 'not-compared';
  // Taken off the list while this recovery point was restored; listed, or changed on purpose, after it.
  if (!known || known.receivedAt > receivedAt) return 'not-compared';
  const before = known.sha256;
  if (before === null) return sha256 === null ? 'not-found' : 'learnt';
  if (sha256 === null) return 'missing';
  return before === sha256 ? 'unchanged' : 'changed';
}

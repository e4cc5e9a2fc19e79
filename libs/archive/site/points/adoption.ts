import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { SiteRestic } from '../restic/site-restic.js';
import { Points } from './points.service.js';

/** A run that ends tells of its own within seconds. */
const AGE_SECONDS = 60;
const CLOCK_DIFFERS_MS = 600_000;

const listed = z.array(
  z.object({
    id: z.string(),
    time: z.iso.datetime({ offset: true }),
    tags: z.array(z.string()).nullish(),
    summary: z
      .object({
        total_files_processed: z.number(),
        total_bytes_processed: z.number(),
        data_added_packed: z.number(),
      })
      .nullish(),
  }),
);
type Listed = z.infer<typeof listed>[number];

/**
 * Snapshots that the vault has and no run has told of: of an agent that died before it could, or of somebody with its
 * credential. They are recovery points like others; only what they claim comes from themselves.
 */
@Injectable()
export class Adoption {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly restic: SiteRestic,
  ) {}

  async adopt(archiveId: string, signal: AbortSignal): Promise<void> {
    const found = await this.work.run(async (tx) => {
      const strangers = await tx.query<{ id: string; at: Date }>(
        `SELECT v.snapshot_id AS id, v.received_at AS at FROM vault_snapshot v
          WHERE v.repository_id = $1 AND v.received_at < clock_timestamp() - make_interval(secs => $2)
            AND NOT EXISTS (SELECT FROM archive_point p WHERE p.archive_id = $1 AND p.snapshot_id = v.snapshot_id)
            AND NOT EXISTS (SELECT FROM archive_run r WHERE r.archive_id = $1 AND r.ended_at IS NULL)
          ORDER BY v.received_at LIMIT 1000`,
        [archiveId, AGE_SECONDS],
      );
      return { strangers, archive: await this.archives.find(tx, archiveId) };
    });
    if (!found.archive || found.strangers.length === 0) return;
    const known = await this.claims(found.archive, signal);
    for (const { id, at } of found.strangers) await this.take(archiveId, id, at, known.get(id));
  }

  private async take(archiveId: string, snapshotId: string, at: Date, claim: Listed | undefined): Promise<void> {
    const claimedAt = claim ? new Date(claim.time) : at;
    const tag = (name: string) => claim?.tags?.find((each) => each.startsWith(`${name}:`))?.slice(name.length + 1);
    const runId = tag('run');
    await this.work.run(async (tx) => {
      const [run] = await tx.query(`SELECT FROM archive_run WHERE run_id::text = $1 AND archive_id = $2`, [
        runId ?? '',
        archiveId,
      ]);
      const made = await this.points.upsert(tx, {
        archiveId,
        snapshotId,
        runId: run && runId !== undefined ? runId : null,
        part: tag('part') ?? null,
        claimedAt,
        clockDiffers: Math.abs(claimedAt.getTime() - at.getTime()) > CLOCK_DIFFERS_MS,
        files: claim?.summary?.total_files_processed ?? null,
        bytes: claim?.summary?.total_bytes_processed ?? null,
        bytesAddedPacked: claim?.summary?.data_added_packed ?? null,
        change: null,
      });
      if (made) await this.points.tell(tx, archiveId, snapshotId);
    });
  }

  /** What the snapshots say of themselves, where we can read them. */
  private async claims({ archiveId, keyMode }: ArchiveRow, signal: AbortSignal): Promise<Map<string, Listed>> {
    if (keyMode !== 'escrowed') return new Map();
    let all: Listed[] = [];
    await this.restic.run(archiveId, ['snapshots', '--json', '--no-lock'], {
      role: 'read',
      purpose: 'listing recovery points that no run told of',
      signal,
      onLine: (json) => (all = listed.parse(json)),
    });
    return new Map(all.map((each) => [each.id, each]));
  }
}

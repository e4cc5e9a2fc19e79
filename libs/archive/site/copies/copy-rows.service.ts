import { Injectable } from '@nestjs/common';
import type { Failure } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { Archives } from '../archives.service.js';

/** Without a new recovery point the two are compared so often all the same. */
const LOOK_EVERY_MINUTES = 60;
const AGAIN_SECONDS = 60;

/** How second copies stand, as the first site sees it. */
@Injectable()
export class CopyRows {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
  ) {}

  /** Archives with a recovery point that the copy may lack, or where nobody has looked for a while. */
  async due(limit: number): Promise<readonly string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT a.archive_id AS id FROM archive a LEFT JOIN archive_copy c USING (archive_id)
          WHERE a.second IS NOT NULL AND a.state IN ('active', 'paused', 'ending')
            AND (c.retry_at IS NULL OR c.retry_at < clock_timestamp())
            AND (c.looked_at IS NULL OR c.looked_at < clock_timestamp() - make_interval(mins => $2)
              OR EXISTS (SELECT FROM vault_snapshot v WHERE v.repository_id = a.archive_id
                            AND v.received_at > coalesce(c.complete_until, '-infinity')))
          ORDER BY c.looked_at NULLS FIRST LIMIT $1`,
        [limit, LOOK_EVERY_MINUTES],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /** @param until up to here everything is there, too; null: it is not known yet */
  async tell(
    archiveId: string,
    left: { readonly objects: number; readonly bytes: number },
    until: Date | null,
    toControl: boolean,
  ): Promise<void> {
    await this.work.run(async (tx) => {
      await tx.execute(
        `INSERT INTO archive_copy AS c (archive_id, complete_until, missing_objects, missing_bytes, looked_at)
         VALUES ($1, $2, $3, $4, clock_timestamp())
         ON CONFLICT (archive_id) DO UPDATE
           SET complete_until = coalesce(excluded.complete_until, c.complete_until), looked_at = excluded.looked_at,
               missing_objects = excluded.missing_objects, missing_bytes = excluded.missing_bytes, failure = NULL,
               retry_at = NULL`,
        [archiveId, until, left.objects, left.bytes],
      );
      if (toControl) await this.archives.tell(tx, archiveId);
    });
  }

  /** What the copy lacks nobody knows then; up to when it is complete stays true. */
  async failed(archiveId: string, error: unknown): Promise<void> {
    const failure: Failure = {
      code: error instanceof DomainError ? error.code : 'archive.copy',
      message: error instanceof DomainError ? error.message : 'The other site could not be reached. It is tried again.',
    };
    await this.work.run(async (tx) => {
      await tx.execute(
        `INSERT INTO archive_copy AS c (archive_id, looked_at, failure, retry_at)
         VALUES ($1, clock_timestamp(), $2, clock_timestamp() + make_interval(secs => $3))
         ON CONFLICT (archive_id) DO UPDATE SET failure = excluded.failure, retry_at = excluded.retry_at,
           looked_at = excluded.looked_at, missing_objects = NULL, missing_bytes = NULL`,
        [archiveId, JSON.stringify(failure), AGAIN_SECONDS],
      );
      await this.archives.tell(tx, archiveId);
    });
  }

  /** By the database's clock: times of receipt are compared with it. */
  async now(): Promise<Date | null> {
    const [now] = await this.work.run((tx) => tx.query<{ at: Date }>(`SELECT clock_timestamp() AS at`));
    return now?.at ?? null;
  }
}

import { Injectable } from '@nestjs/common';
import type { Failure } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { Damages } from '../checks/damages.service.js';
import { Readers } from '../retention/readers.js';
import { VaultService } from '../vault/vault.module.js';
import { CopySite } from './copy-site.js';
import { Pace } from './pace.js';
import { type Missing, missingFrom, sendAll } from './replication.js';

/** Without a new recovery point the two are compared so often all the same. */
const LOOK_EVERY_MINUTES = 60;
const AGAIN_SECONDS = 60;
/** While it is sending, it says how far it is so often. */
const TELL_MS = 15_000;

/** Objects here are damaged, and the copy does not have them either. */
export class DamagedHereError extends DomainError {
  constructor(count: number) {
    super('internal', 'archive.damaged', `${count} objects are damaged here, and the copy does not have them.`);
  }
}

/** Brings what an archive holds to the site that keeps its second copy. */
@Injectable()
export class Copies {
  private readonly busy = new Set<string>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly vault: VaultService,
    private readonly readers: Readers,
    private readonly site: CopySite,
    private readonly damages: Damages,
    private readonly logger: AppLogger,
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
    return rows.map(({ id }) => id).filter((id) => !this.busy.has(id));
  }

  /** Does nothing while it is at it already, or while the repository is pruned. */
  async replicate(archiveId: string, signal: AbortSignal): Promise<void> {
    if (this.busy.has(archiveId)) return;
    this.busy.add(archiveId);
    try {
      const archive = await this.work.run((tx) => this.archives.find(tx, archiveId));
      if (!archive || archive.second === null) return;
      await this.readers.read(archiveId, () => this.bring(archive, signal));
    } catch (error) {
      if (signal.aborted) throw error;
      this.logger.log.warn({ archiveId, err: error }, 'a second copy could not be brought up to date');
      await this.failed(archiveId, error);
    } finally {
      this.busy.delete(archiveId);
    }
  }

  private bring(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const { archiveId } = archive;
    return this.site.with(archive, signal, async (copy) => {
      const { objects } = this.vault;
      // By the database's clock, as times of receipt are compared with it.
      const [now] = await this.work.run((tx) => tx.query<{ at: Date }>(`SELECT clock_timestamp() AS at`));
      await copy.create(signal);
      const missing = await missingFrom(copy, objects, archiveId, signal);
      const left = { objects: missing.length, bytes: sum(missing) };
      await this.tell(archiveId, left, null, true);
      let told = performance.now();
      const sent = (bytes: number): void => {
        left.objects -= 1;
        left.bytes -= bytes;
        if (performance.now() - told < TELL_MS) return;
        told = performance.now();
        this.tell(archiveId, left, null, false).catch((error: unknown) =>
          this.logger.log.warn({ archiveId, reason: errorText(error) }, 'how a copy stands could not be written'),
        );
      };
      let damaged = 0;
      const hooks = {
        sent,
        damaged: async (name: Missing['name']) => {
          if ((await this.damages.found(archiveId, name)) === 'damaged') damaged += 1;
        },
      };
      const pace = new Pace(archive.policy.bandwidthBytesPerSecond);
      await sendAll(copy, objects, archiveId, missing, { pace, signal, hooks });
      if (damaged > 0) throw new DamagedHereError(damaged);
      await this.tell(archiveId, { objects: 0, bytes: 0 }, now?.at ?? null, true);
    });
  }

  /** @param until up to here everything is there, too; null: it is not known yet */
  private async tell(
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

  private async failed(archiveId: string, error: unknown): Promise<void> {
    const failure: Failure = {
      code: error instanceof DomainError ? error.code : 'archive.copy',
      message: error instanceof DomainError ? error.message : 'The other site could not be reached. It is tried again.',
    };
    await this.work.run(async (tx) => {
      await tx.execute(
        `INSERT INTO archive_copy AS c (archive_id, looked_at, failure, retry_at)
         VALUES ($1, clock_timestamp(), $2, clock_timestamp() + make_interval(secs => $3))
         ON CONFLICT (archive_id) DO UPDATE SET failure = excluded.failure, retry_at = excluded.retry_at,
           looked_at = excluded.looked_at`,
        [archiveId, JSON.stringify(failure), AGAIN_SECONDS],
      );
      await this.archives.tell(tx, archiveId);
    });
  }
}

const sum = (missing: readonly Missing[]): number => missing.reduce((all, { bytes }) => all + bytes, 0);

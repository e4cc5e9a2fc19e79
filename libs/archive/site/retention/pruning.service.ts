import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Archives } from '../archives.service.js';
import { Maintenance } from './maintenance.js';
import { Readers } from './readers.js';

const PRUNED_EVERY_HOURS = 23;
/** Also when nothing was forgotten: runs that broke off leave packs that no index names. */
const PRUNED_ANYWAY_DAYS = 30;

/** Takes away what no recovery point uses any more: once a day at the most, since it reads all indexes and trees. */
@Injectable()
export class Pruning {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly maintenance: Maintenance,
    private readonly readers: Readers,
  ) {}

  /** If it is time, and nobody else is at work there. @throws what maintenance throws */
  async prune(archiveId: string, signal: AbortSignal): Promise<void> {
    const [due] = await this.work.run((tx) =>
      tx.query<{ archiveId: string }>(
        `SELECT a.archive_id AS "archiveId" FROM archive a JOIN vault_repository v ON v.repository_id = a.archive_id
          WHERE a.archive_id = $1 AND v.held_because IS NULL
            AND (a.pruned_at IS NULL OR a.pruned_at < clock_timestamp() - make_interval(hours => $2))
            AND (coalesce(a.pruned_at, a.created_at) < clock_timestamp() - make_interval(days => $3)
              -- Packs that were too young the last time come of age within the minimum age.
              OR EXISTS (SELECT FROM archive_point p
                          WHERE p.archive_id = a.archive_id
                            AND p.forgotten_at > coalesce(a.pruned_at, a.created_at)
                                - make_interval(secs => v.minimum_age_seconds) - interval '2 days'))`,
        [archiveId, PRUNED_EVERY_HOURS, PRUNED_ANYWAY_DAYS],
      ),
    );
    if (!due) return;
    await this.readers.alone(archiveId, () =>
      this.archives.hold(
        archiveId,
        'prune',
        async (held) => {
          const archive = await this.work.run((tx) => this.archives.get(tx, archiveId));
          if ((await this.maintenance.prune(archive, held)) === 'busy') return;
          await this.work.run(async (tx) => {
            await tx.execute(`UPDATE archive SET pruned_at = clock_timestamp() WHERE archive_id = $1`, [archiveId]);
            await this.archives.tell(tx, archiveId);
          });
        },
        signal,
      ),
    );
  }
}

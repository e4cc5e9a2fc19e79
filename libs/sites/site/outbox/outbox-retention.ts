import { SiteUnitOfWork } from '#libs/platform/database';
import { defineSweep, Handles, type JobHandler } from '#libs/platform/queue';

/** Drops old results that the control plane has. */
export const pruneOutboxJob = defineSweep('outbox.prune', 3_600_000);

/** Acknowledged results are kept this long, for questions afterwards. */
const KEEP_DAYS = 7;

@Handles(pruneOutboxJob)
export class PruneOutboxHandler implements JobHandler<Record<string, never>> {
  constructor(private readonly work: SiteUnitOfWork) {}

  async handle(): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `DELETE FROM site_result WHERE at < now() - make_interval(days => $1)
            AND seq <= (SELECT acknowledged_seq FROM site_outbox)`,
        [KEEP_DAYS],
      ),
    );
  }
}

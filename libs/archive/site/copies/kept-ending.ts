import { Injectable } from '@nestjs/common';
import type { z } from 'zod';
import { copyEndCommand } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { type PeerCaller, type PeerCommandHandler, PeerHandler } from '#libs/sites/site';
import { UsageFacts } from '../facts/usage-facts.js';
import { VaultService } from '../vault/vault.module.js';
import { keptCopy } from './kept-copy.js';

type Asked = z.infer<typeof copyEndCommand.input>;

/** At the site that keeps a copy: its end, once the first site's archive has ended and this site's own terms are over. */
@Injectable()
export class KeptEnding {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly vault: VaultService,
    private readonly usage: UsageFacts,
    private readonly clock: Clock,
  ) {}

  /** @returns whether it is gone. @throws NotFoundError when this site keeps it for another site */
  async end(caller: PeerCaller, { archiveId }: Asked): Promise<boolean> {
    const [kept] = await this.work.run((tx) =>
      tx.query<{ own: boolean; held: boolean; ageSeconds: number; newest: Date | null }>(
        `SELECT c.workload_id = $2 AND c.first->>'siteId' = $3 AS own, v.held_because IS NOT NULL AS held,
                v.minimum_age_seconds AS "ageSeconds",
                (SELECT max(received_at) FROM vault_snapshot s WHERE s.repository_id = c.archive_id) AS newest
           FROM archive_kept_copy c JOIN vault_repository v ON v.repository_id = c.archive_id
          WHERE c.archive_id = $1`,
        [archiveId, caller.workloadId, caller.siteId],
      ),
    );
    // The answer to an earlier asking was lost.
    if (!kept) return true;
    if (!kept.own) throw new NotFoundError('copy');
    const until = (kept.newest?.getTime() ?? 0) + kept.ageSeconds * 1_000;
    if (kept.held || this.clock.now().getTime() <= until) return false;
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE vault_credential SET ends_at = clock_timestamp()
          WHERE repository_id = $1 AND (ends_at IS NULL OR ends_at > clock_timestamp())`,
        [archiveId],
      ),
    );
    await this.vault.objects.removeAll(archiveId);
    await this.work.run(async (tx) => {
      const copy = await keptCopy(tx, archiveId);
      if (!copy) return;
      await this.usage.copyStored(tx, copy, null);
      await tx.execute(`DELETE FROM archive_kept_copy WHERE archive_id = $1`, [archiveId]);
    });
    return true;
  }
}

@PeerHandler(copyEndCommand)
export class CopyEndHandler implements PeerCommandHandler<Asked, { over: boolean }> {
  constructor(private readonly ending: KeptEnding) {}

  async answer(caller: PeerCaller, input: Asked): Promise<{ over: boolean }> {
    return { over: await this.ending.end(caller, input) };
  }
}

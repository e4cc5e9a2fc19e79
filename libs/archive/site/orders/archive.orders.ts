import { type EnsureArchive, endArchiveOrder, ensureArchiveOrder, keepCopyOrder } from '#contracts/archive';
import type { z } from 'zod';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { JobQueue } from '#libs/platform/queue';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { ArchiveChangedError, ArchiveStateError } from '../archives.errors.js';
import { reconcileArchiveJob } from '../archives.jobs.js';
import { Archives } from '../archives.service.js';
import { KnownCanaries } from '../changes/known-canaries.js';
import { afterQuiet, nextDue } from '../runs/schedule.js';
import { VaultRepositories } from '../vault/vault-repositories.service.js';

const DAY_SECONDS = 86_400;

/** Archives a workload here, or changes how. */
@CarriesOut(ensureArchiveOrder)
export class EnsureArchiveHandler implements OrderHandler<EnsureArchive> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly repositories: VaultRepositories,
    private readonly canaries: KnownCanaries,
    private readonly clock: Clock,
    private readonly queue: JobQueue,
  ) {}

  /** @throws ArchiveChangedError, ArchiveStateError, NotFoundError */
  async carryOut({ payload, tenantId }: ReceivedOrder<EnsureArchive>): Promise<void> {
    if (tenantId === null) throw new NotFoundError('agency');
    const { archiveId, policy } = payload;
    await this.repositories.ensure({
      repositoryId: archiveId,
      tenantId,
      quotaBytes: policy.quotaBytes,
      bytesPerSecond: policy.rateBytesPerSecond ?? null,
      minimumAgeSeconds: policy.minimumAgeDays * DAY_SECONDS,
    });
    await this.work.run(async (tx) => {
      await tx.execute(
        `INSERT INTO archive (archive_id, tenant_id, workload_id, agent_id, workload_name, source, key_mode, state,
                              policy, paused, second)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'preparing', $8, $9, $10) ON CONFLICT (archive_id) DO NOTHING`,
        [
          archiveId,
          tenantId,
          payload.workloadId,
          payload.agentId,
          payload.workloadName,
          payload.source,
          payload.keyMode,
          JSON.stringify(policy),
          payload.paused,
          payload.second && JSON.stringify(payload.second),
        ],
      );
      const before = await this.archives.lock(tx, archiveId);
      if (before.tenantId !== tenantId) throw new NotFoundError('archive');
      if (before.workloadId !== payload.workloadId) throw new ArchiveChangedError('workload');
      if (before.source !== payload.source) throw new ArchiveChangedError('source');
      if (before.keyMode !== payload.keyMode) throw new ArchiveChangedError('key mode');
      if (before.state === 'ended') throw new ArchiveStateError(before.state);
      await tx.execute(
        `UPDATE archive SET agent_id = $2, workload_name = $3, policy = $4, paused = $5, second = $6, next_run_at = $7, former_retention = $8,
                retry_at = NULL, version = version + 1,
                state = CASE state WHEN 'ending' THEN 'active' ELSE state END
          WHERE archive_id = $1`,
        [
          archiveId,
          payload.agentId,
          payload.workloadName,
          JSON.stringify(policy),
          payload.paused,
          payload.second && JSON.stringify(payload.second),
          this.nextRun(archiveId, before.nextRunAt, payload),
          payload.former ? JSON.stringify(payload.former) : null,
        ],
      );
      await this.canaries.list(tx, archiveId, policy.canaries ?? []);
      await this.archives.tell(tx, archiveId);
      tx.afterCommit(() => this.queue.wake(reconcileArchiveJob, { archiveId }));
    });
  }

  /** One that is due already stays so; the next one is that of the new schedule. */
  private nextRun(archiveId: string, before: Date | null, { policy, paused }: EnsureArchive): Date | null {
    if (paused || before === null) return null;
    const now = this.clock.now();
    return before <= now ? afterQuiet(policy, archiveId, now) : nextDue(policy, archiveId, now);
  }
}

/** No more runs. What is there stays until its time. Repeated, it says where the other of the two sites is now. */
@CarriesOut(endArchiveOrder)
export class EndArchiveHandler implements OrderHandler<z.infer<typeof endArchiveOrder.payload>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly queue: JobQueue,
  ) {}

  /** @throws NotFoundError */
  async carryOut({
    payload: { archiveId, other = null },
    tenantId,
  }: ReceivedOrder<z.infer<typeof endArchiveOrder.payload>>): Promise<void> {
    await this.work.run(async (tx) => {
      const kept = await tx.execute(
        `UPDATE archive_kept_copy SET first = coalesce($3, first) WHERE archive_id = $1 AND tenant_id = $2`,
        [archiveId, tenantId, other && JSON.stringify(other)],
      );
      // A second copy stays as long as the archive does: its first site says when (KeptEnding).
      if (kept > 0) return;
      const before = await this.archives.lock(tx, archiveId);
      if (before.tenantId !== tenantId) throw new NotFoundError('archive');
      // Null once the copy has gone: then it stays so.
      if (other && before.second) {
        await tx.execute(`UPDATE archive SET second = $2, retry_at = NULL WHERE archive_id = $1`, [
          archiveId,
          JSON.stringify(other),
        ]);
        tx.afterCommit(() => this.queue.wake(reconcileArchiveJob, { archiveId }));
      }
      if (before.state === 'ended' || before.state === 'ending') return;
      await tx.execute(
        `UPDATE archive SET state = 'ending', next_run_at = NULL, failure = NULL, retry_at = NULL, alarms = '[]',
                version = version + 1 WHERE archive_id = $1`,
        [archiveId],
      );
      await tx.execute(`UPDATE archive_run SET cancel_wanted = true WHERE archive_id = $1 AND ended_at IS NULL`, [
        archiveId,
      ]);
      await this.archives.tell(tx, archiveId);
      tx.afterCommit(() => this.queue.wake(reconcileArchiveJob, { archiveId }));
    });
  }
}

/** This site keeps the second copy of another site's archive: the row says so, and the copying works towards it. */
@CarriesOut(keepCopyOrder)
export class KeepCopyHandler implements OrderHandler<z.infer<typeof keepCopyOrder.payload>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly repositories: VaultRepositories,
  ) {}

  /** @throws NotFoundError */
  async carryOut({ payload, tenantId }: ReceivedOrder<z.infer<typeof keepCopyOrder.payload>>): Promise<void> {
    if (tenantId === null) throw new NotFoundError('agency');
    await this.repositories.ensure({
      repositoryId: payload.archiveId,
      tenantId,
      quotaBytes: null,
      minimumAgeSeconds: payload.minimumAgeDays * DAY_SECONDS,
    });
    await this.work.run((tx) =>
      tx.execute(
        `INSERT INTO archive_kept_copy (archive_id, tenant_id, workload_id, first) VALUES ($1, $2, $3, $4)
         ON CONFLICT (archive_id) DO UPDATE SET first = excluded.first`,
        [payload.archiveId, tenantId, payload.workloadId, JSON.stringify(payload.first)],
      ),
    );
  }
}

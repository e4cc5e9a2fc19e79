import { Injectable } from '@nestjs/common';
import { type ArchiveWork, restoreResult, type RestoreWish, type WorkResult } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import type { SiteTransaction } from '#libs/platform/database';
import type { DomainError } from '#libs/platform/errors';
import { SiteOutbox } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { UsageFacts } from '../facts/usage-facts.js';
import type { WorkKindOf } from '../runs/work-kind.js';
import { findWork, RESTORES, type RestoreRow, type WorkChange } from '../runs/work.row.js';

/** Restores to the agent's machine. */
@Injectable()
export class Restores implements WorkKindOf<RestoreRow> {
  readonly table = RESTORES;
  readonly kind = 'restore';

  constructor(
    private readonly outbox: SiteOutbox,
    private readonly usage: UsageFacts,
    private readonly clock: Clock,
  ) {}

  role(): 'read' {
    return 'read';
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  /** Somebody waits for it: the quiet hours' limit is not for it. */
  limit({ policy }: ArchiveRow): number | null {
    return policy.bandwidthBytesPerSecond;
  }

  work(_tx: SiteTransaction, archive: ArchiveRow, { wish }: RestoreRow): Promise<ArchiveWork> {
    const limits = { bandwidthBytesPerSecond: this.limit(archive) };
    const { snapshotId, paths, target, overwrite } = wish;
    return Promise.resolve({ kind: 'restore', snapshotId, paths, target, overwrite, limits });
  }

  async tell(tx: SiteTransaction, archive: ArchiveRow, row: RestoreRow): Promise<void> {
    const { result } = row;
    await this.outbox.emit(
      tx,
      restoreResult,
      { tenantId: archive.tenantId },
      {
        archiveId: archive.archiveId,
        workloadId: archive.workloadId,
        restoreId: row.workId,
        // The contract knows no "unknown" of restores: it is under way until the agent says otherwise.
        state: row.state === 'unknown' ? 'running' : row.state,
        startedAt: row.startedAt?.toISOString() ?? null,
        endedAt: row.endedAt?.toISOString() ?? null,
        progress: row.progress,
        filesRestored: result?.filesRestored ?? 0,
        filesSkipped: result?.filesSkipped ?? 0,
        bytesRestored: result?.bytesRestored ?? 0,
        faultCount: result?.faultCount ?? 0,
        faults: result?.faults ?? [],
        failure: row.failure,
        ...(result?.note === undefined ? {} : { note: result.note }),
      },
    );
  }

  /** Nobody asks for it again: what it should bring back is not there. */
  async refuse(tx: SiteTransaction, archive: ArchiveRow, wish: RestoreWish, error: DomainError): Promise<void> {
    const now = this.clock.now();
    await tx.execute(
      `INSERT INTO archive_restore (restore_id, archive_id, wish, state, ended_at, failure)
       VALUES ($1, $2, $3, 'failed', $4, $5) ON CONFLICT DO NOTHING`,
      [
        wish.restoreId,
        archive.archiveId,
        JSON.stringify(wish),
        now,
        JSON.stringify({ code: error.code, message: error.message }),
      ],
    );
    const row = await findWork(tx, RESTORES, wish.restoreId);
    if (row) await this.tell(tx, archive, row);
  }

  judge(_tx: SiteTransaction, _archive: ArchiveRow, _row: RestoreRow, result: WorkResult): Promise<WorkChange> {
    const state = result.state === 'completed' && result.faultCount > 0 ? 'partial' : result.state;
    return Promise.resolve({ state, failure: result.failure, result });
  }

  async ended(tx: SiteTransaction, archive: ArchiveRow, row: RestoreRow): Promise<void> {
    await this.usage.restored(tx, archive, row, row.result?.bytesRestored ?? 0);
  }
}

import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  cancelArchiveWorkOrder,
  type Failure,
  type Progress,
  runArchiveOrder,
  type RunReport,
  type RunState,
  type RunSummary,
} from '#contracts/archive';
import type { Actor } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { ArchivePausedError, RunEndedError, RunOpenError } from '../archive.errors.js';
import { OPEN_RUNS, runHasEnded } from '../archive.states.js';
import { ArchiveOrders } from '../archives/archive-orders.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { Archives } from '../archives/archive.service.js';

export interface RunView {
  readonly id: string;
  readonly archiveId: string;
  readonly cause: 'schedule' | 'request';
  readonly state: RunState;
  readonly dueAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
  readonly progress: Progress | null;
  readonly summary: RunSummary | null;
  readonly snapshotIds: readonly string[];
  readonly faultCount: number;
  readonly faults: RunReport['faults'];
  readonly failure: Failure | null;
  readonly version: number;
  /** For the next page's cursor. */
  readonly dueText: string;
}

const COLUMNS = `id, archive_id AS "archiveId", cause, state, due_at AS "dueAt", started_at AS "startedAt",
  ended_at AS "endedAt", progress, summary, snapshot_ids AS "snapshotIds", fault_count AS "faultCount", faults, failure,
  version, due_at::text AS "dueText"`;

/** Runs of archives as the control plane knows them: the site that carries one out is the truth. */
@Injectable()
export class Runs {
  constructor(
    private readonly archives: Archives,
    private readonly archiveOrders: ArchiveOrders,
    private readonly record: ArchiveRecord,
  ) {}

  /** Has a run begin now, beside the schedule. @throws NotFoundError, ArchiveEndingError, ArchivePausedError, RunOpenError */
  async start(tx: TenantTransaction, archiveId: string, actor: Actor): Promise<RunView> {
    const archive = await this.archives.holdOpen(tx, archiveId);
    if (archive.paused) throw new ArchivePausedError();
    const [open] = await tx.query<{ id: string }>(
      `SELECT id FROM archive_run WHERE tenant_id = $1 AND archive_id = $2 AND state = ANY($3)`,
      [tx.tenantId, archiveId, OPEN_RUNS],
    );
    if (open) throw new RunOpenError(open.id);
    const runId = randomUUID();
    await tx.execute(
      `INSERT INTO archive_run (tenant_id, id, archive_id, cause, state, due_at)
       VALUES ($1, $2, $3, 'request', 'waiting', now())`,
      [tx.tenantId, runId, archiveId],
    );
    await this.archiveOrders.give(tx, archive, runArchiveOrder, { runId });
    await this.record.did(tx, archive, actor, 'archive.run-asked', { runId });
    return this.get(tx, archiveId, runId);
  }

  /** Asks the site to cancel a run; whether it still can is the site's to say. @throws NotFoundError, RunEndedError */
  async cancel(tx: TenantTransaction, archiveId: string, runId: string, actor: Actor): Promise<RunView> {
    await this.get(tx, archiveId, runId);
    const archive = await this.archives.hold(tx, archiveId);
    const run = await this.get(tx, archiveId, runId);
    if (runHasEnded(run.state)) throw new RunEndedError(run.state);
    await this.archiveOrders.give(tx, archive, cancelArchiveWorkOrder, { workId: runId });
    await this.record.did(tx, archive, actor, 'archive.run-cancel-asked', { runId });
    return run;
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, archiveId: string, runId: string): Promise<RunView> {
    const [row] = await tx.query<RunView>(
      `SELECT ${COLUMNS} FROM archive_run WHERE tenant_id = $1 AND archive_id = $2 AND id = $3`,
      [tx.tenantId, archiveId, runId],
    );
    if (!row) throw new NotFoundError('archive run');
    return row;
  }

  /** The newest first, `limit + 1` at most. @throws NotFoundError for the archive */
  async list(
    tx: TenantTransaction,
    archiveId: string,
    after: readonly [string, string] | undefined,
    limit: number,
  ): Promise<RunView[]> {
    await this.archives.get(tx, archiveId);
    return tx.query<RunView>(
      `SELECT ${COLUMNS} FROM archive_run WHERE tenant_id = $1 AND archive_id = $2
          AND ($3::timestamptz IS NULL OR (due_at, id) < ($3, $4::uuid))
        ORDER BY due_at DESC, id DESC LIMIT $5`,
      [tx.tenantId, archiveId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
  }
}

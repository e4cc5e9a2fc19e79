import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type ChangeSignal, massChangeResult, type MassChangeReport, type WorkResult } from '#contracts/archive';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { SiteOutbox } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { Points } from '../points/points.service.js';
import { VaultService } from '../vault/vault.module.js';
import { isSuspicious, learn, measure, type Measures, unusual } from './signals.js';

/** Runs that are compared with. */
const HISTORY = 60;
/** After it was dealt with, the last good point is kept for so long. */
const PINNED_DAYS = 90;
/** Why nothing is removed from the repository meanwhile. People read it. */
export const HELD_FOR_CHANGE = 'an unusual change is suspected; say what it was, and retention goes on';

interface EndedRun {
  readonly runId: string;
  readonly startedAt: Date;
  readonly result: WorkResult;
  readonly storedBefore: number | null;
}
interface ChangeRow {
  readonly changeId: string;
  readonly runId: string | null;
  readonly state: MassChangeReport['state'];
  readonly at: Date;
  readonly signals: ChangeSignal[];
  readonly paths: string[];
  readonly lastGood: string | null;
}
const CHANGE_COLUMNS = `change_id AS "changeId", run_id AS "runId", state, at, signals, paths, last_good AS "lastGood"`;

/**
 * Looks at what each run did, against the runs before. A suspicion stops nothing that comes in: it keeps what is there, from
 * removal by anybody, until people have said what it was.
 */
@Injectable()
export class Changes {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly outbox: SiteOutbox,
    private readonly vault: VaultService,
  ) {}

  /** Archives with runs that were not looked at, or where the vault has refused something since it was. */
  async due(limit: number): Promise<readonly string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT archive_id AS id FROM archive a WHERE state IN ('active', 'paused', 'ending')
            AND (EXISTS (SELECT FROM archive_run r WHERE r.archive_id = a.archive_id AND r.measures IS NULL
                            AND r.state IN ('completed', 'partial'))
              OR EXISTS (SELECT FROM vault_refusal f JOIN vault_credential c USING (credential_id)
                          WHERE f.repository_id = a.archive_id AND c.role <> 'maintain'
                            AND f.last_at > clock_timestamp() - interval '5 minutes'))
          LIMIT $1`,
        [limit],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /** Looks at each ended run once, the oldest first; and at what strangers do. To be called before retention acts. */
  async look(archiveId: string): Promise<void> {
    const stored = await this.vault.storedBytes(archiveId);
    await this.work.run(async (tx) => {
      const archive = await this.archives.lock(tx, archiveId);
      const runs = await tx.query<EndedRun>(
        `SELECT run_id AS "runId", started_at AS "startedAt", result, stored_before::float8 AS "storedBefore"
           FROM archive_run WHERE archive_id = $1 AND measures IS NULL AND state IN ('completed', 'partial')
          ORDER BY ended_at`,
        [archiveId],
      );
      for (const run of runs) await this.lookAt(tx, archive, run, stored);
      if (runs.length === 0) await this.lookAtStrangers(tx, archive);
      await this.unpin(tx, archiveId);
    });
  }

  /** What people say of it. A judgement is final. @returns false when there is none such to judge */
  async judge(archiveId: string, changeId: string, verdict: 'false-positive' | 'dealt-with'): Promise<boolean> {
    return this.work.run(async (tx) => {
      const archive = await this.archives.lock(tx, archiveId);
      const [change] = await tx.query<ChangeRow>(
        `UPDATE archive_change SET state = $3, judged_at = clock_timestamp()
          WHERE archive_id = $1 AND change_id = $2 AND state IN ('suspected', $3) RETURNING ${CHANGE_COLUMNS}`,
        [archiveId, changeId, verdict],
      );
      if (!change) return false;
      await this.tell(tx, archive, change);
      if (await this.open(tx, archiveId)) return true;
      await tx.execute(
        `UPDATE vault_repository SET held_because = NULL WHERE repository_id = $1 AND held_because = $2`,
        [archiveId, HELD_FOR_CHANGE],
      );
      await this.unpin(tx, archiveId);
      await this.archives.tell(tx, archiveId);
      return true;
    });
  }

  private async lookAt(tx: SiteTransaction, archive: ArchiveRow, run: EndedRun, stored: number): Promise<void> {
    const storedMore = run.storedBefore === null ? null : Math.max(0, stored - run.storedBefore);
    const seen = { storedMore, ...(await this.strangers(tx, archive.archiveId)) };
    const measures = measure(run.result ?? { snapshots: [], renamedCount: null }, seen);
    const suspected = await this.open(tx, archive.archiveId);
    await tx.execute(`UPDATE archive_run SET measures = $2 WHERE run_id = $1`, [
      run.runId,
      JSON.stringify({ ...measures, changeId: suspected?.changeId ?? null }),
    ]);
    if (suspected) return;
    const change = await this.judgeMeasures(tx, archive, measures, run);
    if (!change) return;
    await tx.execute(`UPDATE archive_run SET measures = measures || $2 WHERE run_id = $1`, [
      run.runId,
      JSON.stringify({ changeId: change }),
    ]);
  }

  /** Between runs, somebody with a stolen credential. */
  private async lookAtStrangers(tx: SiteTransaction, archive: ArchiveRow): Promise<void> {
    if (await this.open(tx, archive.archiveId)) return;
    const seen = await this.strangers(tx, archive.archiveId);
    if (seen.strangers + seen.refused === 0) return;
    const nothing = measure({ snapshots: [], renamedCount: null }, { storedMore: null, ...seen });
    await this.judgeMeasures(tx, archive, nothing, undefined);
  }

  private async judgeMeasures(
    tx: SiteTransaction,
    archive: ArchiveRow,
    measures: Measures,
    run: EndedRun | undefined,
  ): Promise<string | undefined> {
    const { archiveId, source } = archive;
    const before = await tx.query<{ measures: Measures }>(
      `SELECT r.measures FROM archive_run r LEFT JOIN archive_change c ON c.change_id = (r.measures->>'changeId')::uuid
        WHERE r.archive_id = $1 AND r.measures IS NOT NULL AND r.run_id IS DISTINCT FROM $2
          -- What was done in an attack is not what is usual.
          AND (c.change_id IS NULL OR c.state = 'false-positive')
        ORDER BY r.ended_at DESC LIMIT ${HISTORY}`,
      [archiveId, run?.runId ?? null],
    );
    const falseAlarms = await tx.query<{ signals: ChangeSignal[] }>(
      `SELECT signals FROM archive_change WHERE archive_id = $1 AND state = 'false-positive'`,
      [archiveId],
    );
    const signals = unusual(
      measures,
      before.map((each) => each.measures),
      learn(falseAlarms.map((each) => each.signals)),
    );
    return isSuspicious(signals, source) ? this.suspect(tx, archive, signals, run) : undefined;
  }

  private async suspect(
    tx: SiteTransaction,
    archive: ArchiveRow,
    signals: readonly ChangeSignal[],
    run: EndedRun | undefined,
  ): Promise<string> {
    const { archiveId } = archive;
    const [good] = await tx.query<{ snapshotId: string; runId: string | null }>(
      `SELECT snapshot_id AS "snapshotId", run_id AS "runId" FROM archive_point
        WHERE archive_id = $1 AND forgotten_at IS NULL AND run_id IS NOT NULL AND run_id IS DISTINCT FROM $2
          AND received_at < coalesce($3, clock_timestamp())
        ORDER BY received_at DESC LIMIT 1`,
      [archiveId, run?.runId ?? null, run?.startedAt ?? null],
    );
    const changeId = randomUUID();
    const [change] = await tx.query<ChangeRow>(
      `INSERT INTO archive_change (change_id, archive_id, run_id, state, signals, paths, last_good)
       VALUES ($1, $2, $3, 'suspected', $4, $5, $6) RETURNING ${CHANGE_COLUMNS}`,
      [
        changeId,
        archiveId,
        run?.runId ?? null,
        JSON.stringify(signals),
        JSON.stringify(run?.result.removed ?? []),
        good?.snapshotId ?? null,
      ],
    );
    await tx.execute(
      `UPDATE vault_repository SET held_because = $2 WHERE repository_id = $1 AND held_because IS NULL`,
      [archiveId, HELD_FOR_CHANGE],
    );
    if (good) {
      const pinned = await tx.query<{ id: string }>(
        `UPDATE archive_point SET pinned = true
          WHERE archive_id = $1 AND forgotten_at IS NULL AND (snapshot_id = $2 OR run_id = $3)
          RETURNING snapshot_id AS id`,
        [archiveId, good.snapshotId, good.runId],
      );
      for (const { id } of pinned) await this.points.tell(tx, archiveId, id);
    }
    if (change) await this.tell(tx, archive, change);
    await this.archives.tell(tx, archiveId);
    return changeId;
  }

  private async open(tx: SiteTransaction, archiveId: string): Promise<ChangeRow | undefined> {
    const [row] = await tx.query<ChangeRow>(
      `SELECT ${CHANGE_COLUMNS} FROM archive_change WHERE archive_id = $1 AND state = 'suspected' LIMIT 1`,
      [archiveId],
    );
    return row;
  }

  /** What others than our runs did since the last one that was looked at, or since people last judged a change. */
  private async strangers(tx: SiteTransaction, archiveId: string): Promise<Pick<Measures, 'strangers' | 'refused'>> {
    const [row] = await tx.query<Pick<Measures, 'strangers' | 'refused'>>(
      `WITH since AS (
         SELECT greatest(
           (SELECT max(ended_at) FROM archive_run WHERE archive_id = $1 AND measures IS NOT NULL),
           (SELECT max(judged_at) FROM archive_change WHERE archive_id = $1),
           clock_timestamp() - interval '7 days') AS at)
       SELECT (SELECT count(*) FROM vault_snapshot v LEFT JOIN archive_point p
                   ON p.archive_id = v.repository_id AND p.snapshot_id = v.snapshot_id
                WHERE v.repository_id = $1 AND p.run_id IS NULL AND v.received_at > since.at)::float8 AS strangers,
              (SELECT coalesce(sum(times), 0) FROM vault_refusal f JOIN vault_credential c USING (credential_id)
                WHERE f.repository_id = $1 AND c.role <> 'maintain' AND f.last_at > since.at)::float8 AS refused
         FROM since`,
      [archiveId],
    );
    return row ?? { strangers: 0, refused: 0 };
  }

  /** Points that no suspicion needs any more. */
  private async unpin(tx: SiteTransaction, archiveId: string): Promise<void> {
    const free = await tx.query<{ id: string }>(
      `UPDATE archive_point p SET pinned = false WHERE archive_id = $1 AND pinned
          AND NOT EXISTS (SELECT FROM archive_change c LEFT JOIN archive_point g
                              ON g.archive_id = c.archive_id AND g.snapshot_id = c.last_good
                           WHERE c.archive_id = $1 AND (g.snapshot_id = p.snapshot_id OR g.run_id = p.run_id)
                             AND (c.state = 'suspected' OR (c.state = 'dealt-with'
                               AND c.judged_at > clock_timestamp() - make_interval(days => $2))))
        RETURNING snapshot_id AS id`,
      [archiveId, PINNED_DAYS],
    );
    for (const { id } of free) await this.points.tell(tx, archiveId, id);
  }

  private async tell(tx: SiteTransaction, archive: ArchiveRow, change: ChangeRow): Promise<void> {
    const { archiveId, workloadId, tenantId } = archive;
    const { changeId, runId, state, at, signals, paths, lastGood } = change;
    await this.outbox.emit(
      tx,
      massChangeResult,
      { tenantId },
      { archiveId, workloadId, changeId, runId, state, at: at.toISOString(), signals, paths, lastGood },
    );
  }
}

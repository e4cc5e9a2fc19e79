import { Injectable } from '@nestjs/common';
import type { ChangeSignal, WorkResult } from '#contracts/archive';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { VaultService } from '../vault/vault.module.js';
import { type Evidence, restoredOf, type SeenPart } from './restored.js';
import { isSuspicious, learn, measure, type Measures, unusual } from './signals.js';
import { type ChangeRow, Suspicions } from './suspicions.js';

/** Runs that are compared with. */
const HISTORY = 60;

interface EndedRun {
  readonly runId: string;
  readonly startedAt: Date;
  readonly endedAt: Date;
  readonly result: WorkResult | null;
  readonly storedBefore: number | null;
  /** Null until it was looked at. */
  readonly measures: (Measures & { readonly changeId: string | null }) | null;
}
const RUN_COLUMNS = `run_id AS "runId", started_at AS "startedAt", ended_at AS "endedAt", result,
  stored_before::float8 AS "storedBefore", measures`;

/**
 * Looks at what each run did, against the runs before, and again once its recovery points were restored as a test. A
 * suspicion stops nothing that comes in: it keeps what is there, from removal by anybody, until people have said what it was.
 */
@Injectable()
export class Changes {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly suspicions: Suspicions,
    private readonly vault: VaultService,
  ) {}

  /** Archives with runs that were not looked at, or restored as a test since, or where the vault has refused something since it was. */
  async due(limit: number): Promise<readonly string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT archive_id AS id FROM archive a WHERE state IN ('active', 'paused', 'ending')
            AND (EXISTS (SELECT FROM archive_run r WHERE r.archive_id = a.archive_id AND r.measures IS NULL
                            AND r.state IN ('completed', 'partial'))
              OR EXISTS (SELECT FROM archive_point p JOIN archive_run r ON r.run_id = p.run_id
                          WHERE p.archive_id = a.archive_id AND p.seen_new AND r.state IN ('completed', 'partial'))
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
      const runs = await this.runs(tx, archiveId, 'r.measures IS NULL');
      for (const run of runs) await this.lookAt(tx, archive, run, stored);
      const restored = await this.runs(
        tx,
        archiveId,
        'EXISTS (SELECT FROM archive_point p WHERE p.archive_id = r.archive_id AND p.run_id = r.run_id AND p.seen_new)',
      );
      for (const run of restored) await this.lookAgain(tx, archive, run);
      if (runs.length === 0) await this.lookAtStrangers(tx, archive);
      await this.suspicions.unpin(tx, archiveId);
    });
  }

  /** What people say of it. A judgement is final. @returns false when there is none such to judge */
  async judge(archiveId: string, changeId: string, verdict: 'false-positive' | 'dealt-with'): Promise<boolean> {
    return this.work.run(async (tx) =>
      this.suspicions.judge(tx, await this.archives.lock(tx, archiveId), changeId, verdict),
    );
  }

  private runs(tx: SiteTransaction, archiveId: string, which: string): Promise<EndedRun[]> {
    return tx.query<EndedRun>(
      `SELECT ${RUN_COLUMNS} FROM archive_run r
        WHERE archive_id = $1 AND state IN ('completed', 'partial') AND ${which} ORDER BY ended_at`,
      [archiveId],
    );
  }

  private async lookAt(tx: SiteTransaction, archive: ArchiveRow, run: EndedRun, stored: number): Promise<void> {
    const storedMore = run.storedBefore === null ? null : Math.max(0, stored - run.storedBefore);
    const seen = { storedMore, ...(await this.strangers(tx, archive.archiveId)) };
    const measures = measure(run.result ?? { snapshots: [], renamedCount: null }, seen);
    const suspected = await this.suspicions.open(tx, archive.archiveId);
    await this.judgeRun(tx, archive, run, { measures, changeId: suspected?.changeId ?? null, suspected });
  }

  /** Its recovery points were restored since: the numbers of then, and what the restore saw. */
  private async lookAgain(tx: SiteTransaction, archive: ArchiveRow, run: EndedRun): Promise<void> {
    if (run.measures === null) return;
    const { changeId, ...measures } = run.measures;
    const suspected = await this.suspicions.open(tx, archive.archiveId);
    await this.judgeRun(tx, archive, run, { measures, changeId, suspected });
  }

  /** @param known `changeId` of the change that the run belongs to; `suspected` is the one that nobody has judged */
  private async judgeRun(
    tx: SiteTransaction,
    archive: ArchiveRow,
    run: EndedRun,
    known: { measures: Measures; changeId: string | null; suspected: ChangeRow | undefined },
  ): Promise<void> {
    const { archiveId, source } = archive;
    const { measures, evidence } = await this.restored(tx, archiveId, run.runId, known.measures);
    const signals = await this.signals(tx, archiveId, measures, { run, evidence });
    const suspect = { ...run, removed: run.result?.removed ?? [] };
    let { changeId } = known;
    if (known.suspected) {
      const odd = await this.suspicions.add(tx, archive, known.suspected, signals, suspect);
      if (odd) changeId ??= known.suspected.changeId;
    } else {
      const open = await this.unjudged(tx, archiveId, changeId, signals);
      if (isSuspicious(open, source)) changeId = await this.suspicions.raise(tx, archive, open, suspect);
    }
    await tx.execute(`UPDATE archive_run SET measures = $2 WHERE run_id = $1`, [
      run.runId,
      JSON.stringify({ ...measures, odd: signals.map(({ signal }) => signal), changeId }),
    ]);
  }

  /** What a person has said of a run stands; but of what was seen only afterwards, nobody has said anything. */
  private async unjudged(
    tx: SiteTransaction,
    archiveId: string,
    changeId: string | null,
    signals: readonly ChangeSignal[],
  ): Promise<readonly ChangeSignal[]> {
    const judged = changeId === null ? undefined : await this.suspicions.find(tx, archiveId, changeId);
    if (!judged) return signals;
    if (judged.state === 'dealt-with') return [];
    return signals.filter(({ signal }) => !judged.signals.some((one) => one.signal === signal));
  }

  /** Between runs, somebody with a stolen credential. */
  private async lookAtStrangers(tx: SiteTransaction, archive: ArchiveRow): Promise<void> {
    if (await this.suspicions.open(tx, archive.archiveId)) return;
    const seen = await this.strangers(tx, archive.archiveId);
    if (seen.strangers + seen.refused === 0) return;
    const nothing = measure({ snapshots: [], renamedCount: null }, { storedMore: null, ...seen });
    const signals = await this.signals(tx, archive.archiveId, nothing, {});
    if (isSuspicious(signals, archive.source)) await this.suspicions.raise(tx, archive, signals, undefined);
  }

  private async signals(
    tx: SiteTransaction,
    archiveId: string,
    measures: Measures,
    { run, evidence }: { readonly run?: EndedRun; readonly evidence?: Evidence },
  ): Promise<readonly ChangeSignal[]> {
    const before = await tx.query<{ measures: Measures }>(
      `SELECT r.measures FROM archive_run r LEFT JOIN archive_change c ON c.change_id = (r.measures->>'changeId')::uuid
        WHERE r.archive_id = $1 AND r.measures IS NOT NULL AND r.run_id IS DISTINCT FROM $2
          AND ($3::timestamptz IS NULL OR r.ended_at <= $3)
          -- What was done in an attack is not what is usual.
          AND (c.change_id IS NULL OR c.state = 'false-positive')
        ORDER BY r.ended_at DESC LIMIT ${HISTORY}`,
      [archiveId, run?.runId ?? null, run?.endedAt ?? null],
    );
    const falseAlarms = await tx.query<{ signals: ChangeSignal[] }>(
      `SELECT signals FROM archive_change WHERE archive_id = $1 AND state = 'false-positive'`,
      [archiveId],
    );
    return unusual(
      measures,
      before.map((each) => each.measures),
      learn(falseAlarms.map((each) => each.signals)),
      evidence,
    );
  }

  /** With what test restores of the run's recovery points saw, of all of them together. */
  private async restored(
    tx: SiteTransaction,
    archiveId: string,
    runId: string,
    measures: Measures,
  ): Promise<{ readonly measures: Measures; readonly evidence?: Evidence }> {
    // First, so that what a proof writes meanwhile is looked at once more rather than never.
    await tx.execute(`UPDATE archive_point SET seen_new = false WHERE archive_id = $1 AND run_id = $2 AND seen_new`, [
      archiveId,
      runId,
    ]);
    const parts = await tx.query<SeenPart>(
      `SELECT part, seen FROM archive_point WHERE archive_id = $1 AND run_id = $2 AND seen IS NOT NULL ORDER BY part`,
      [archiveId, runId],
    );
    if (parts.length === 0) return { measures };
    const { restored, evidence } = restoredOf(parts);
    return { measures: { ...measures, restored }, evidence };
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
}

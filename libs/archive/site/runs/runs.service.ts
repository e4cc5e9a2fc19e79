import { Injectable } from '@nestjs/common';
import { type ArchiveWork, type Failure, type RunSummary, runResult, type WorkResult } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import type { SiteTransaction } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { Metrics } from '#libs/platform/telemetry';
import { SiteOutbox } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { standingCopyJob } from '../archives.jobs.js';
import { AFTER_RUN } from '../care.js';
import { UsageFacts } from '../facts/usage-facts.js';
import { Points, WHILE_UNDER_WAY } from '../points/points.service.js';
import { VaultService } from '../vault/vault.module.js';
import { archiveRuns, archiveRunSeconds } from './run.metrics.js';
import { bandwidthAt } from './schedule.js';
import type { WorkKindOf } from './work-kind.js';
import { RUNS, type RunRow, type WorkChange } from './work.row.js';

/** Farther off than this from the vault's clock, and people are told so. */
const CLOCK_DIFFERS_MS = 600_000;

/** Runs: an archive's backups by its agent. */
@Injectable()
export class Runs implements WorkKindOf<RunRow> {
  readonly table = RUNS;
  readonly kind = 'run';

  constructor(
    private readonly outbox: SiteOutbox,
    private readonly points: Points,
    private readonly usage: UsageFacts,
    private readonly vault: VaultService,
    private readonly queue: JobQueue,
    private readonly clock: Clock,
    private readonly metrics: Metrics,
  ) {
    metrics.counts(archiveRuns, archiveRunSeconds);
  }

  /** Of a stream, nothing stored is read: a stolen credential opens no dump. Folders are compared with what they were. */
  role({ source }: ArchiveRow): 'append' | 'write' {
    return source === 'files' ? 'append' : 'write';
  }

  /** Counted from the storage once after a start, which takes its time. */
  async prepare({ archiveId }: ArchiveRow): Promise<void> {
    await this.vault.storedBytes(archiveId);
  }

  limit({ policy }: ArchiveRow): number | null {
    return bandwidthAt(policy, this.clock.now());
  }

  async work(tx: SiteTransaction, archive: ArchiveRow, row: RunRow): Promise<ArchiveWork> {
    const { policy, source, archiveId } = archive;
    if (row.storedBefore === null) {
      const stored = await this.vault.storedBytes(archiveId);
      await tx.execute(`UPDATE archive_run SET stored_before = $2 WHERE run_id = $1 AND stored_before IS NULL`, [
        row.workId,
        stored,
      ]);
    }
    return {
      kind: 'backup',
      source,
      excludes: policy.excludes,
      limits: { bandwidthBytesPerSecond: this.limit(archive) },
      previous: await this.previous(tx, archiveId),
      tags: [`archive:${archiveId}`, `run:${row.workId}`],
    };
  }

  /** The points of the run before. */
  private async previous(tx: SiteTransaction, archiveId: string): Promise<string[]> {
    const rows = await tx.query<{ id: string }>(
      `SELECT snapshot_id AS id FROM archive_point
        WHERE archive_id = $1 AND forgotten_at IS NULL AND run_id = (
          SELECT run_id FROM archive_point WHERE archive_id = $1 AND forgotten_at IS NULL AND run_id IS NOT NULL
           ORDER BY received_at DESC LIMIT 1)
        ORDER BY snapshot_id LIMIT 1000`,
      [archiveId],
    );
    return rows.map(({ id }) => id);
  }

  async tell(tx: SiteTransaction, archive: ArchiveRow, row: RunRow): Promise<void> {
    const { result } = row;
    await this.outbox.emit(
      tx,
      runResult,
      { tenantId: archive.tenantId },
      {
        archiveId: archive.archiveId,
        workloadId: archive.workloadId,
        runId: row.workId,
        cause: row.cause,
        state: row.state,
        dueAt: row.dueAt.toISOString(),
        startedAt: row.startedAt?.toISOString() ?? null,
        endedAt: row.endedAt?.toISOString() ?? null,
        progress: row.progress,
        summary: result && summed(result),
        snapshotIds: result?.snapshots.map(({ id }) => id) ?? [],
        faultCount: result?.faultCount ?? 0,
        faults: result?.faults ?? [],
        failure: row.failure,
      },
    );
  }

  /**
   * A snapshot counts when the vault has received it while the run was under way, and no other run has it, whatever the
   * agent says.
   */
  async judge(tx: SiteTransaction, archive: ArchiveRow, row: RunRow, result: WorkResult): Promise<WorkChange> {
    const told = result.snapshots;
    const there = new Map<string, Date>();
    const ids = told.map(({ id }) => id);
    for (const { id, at } of await tx.query<{ id: string; at: Date }>(
      `SELECT v.snapshot_id AS id, v.received_at AS at FROM vault_snapshot v
         JOIN archive_run r ON r.archive_id = v.repository_id AND r.run_id = $3 AND ${WHILE_UNDER_WAY}
        WHERE v.repository_id = $1 AND v.snapshot_id = ANY($2)`,
      [archive.archiveId, ids, row.workId],
    )) {
      there.set(id, at);
    }
    const kept: typeof told = [];
    for (const snapshot of told) {
      const received = there.get(snapshot.id);
      if (!received) continue;
      const own = await this.points.upsert(tx, {
        archiveId: archive.archiveId,
        snapshotId: snapshot.id,
        runId: row.workId,
        part: snapshot.part,
        claimedAt: new Date(result.startedAt),
        clockDiffers: differs(result, received),
        files: snapshot.files,
        bytes: snapshot.bytes,
        bytesAddedPacked: snapshot.summary.bytesAddedPacked,
        change: {
          filesNew: snapshot.summary.filesNew,
          filesChanged: snapshot.summary.filesChanged,
          filesRemoved: snapshot.summary.filesRemoved,
        },
      });
      if (own) kept.push(snapshot);
    }
    const { state, failure } = verdict(result, kept.length);
    return { state, failure, result: { ...result, snapshots: kept } };
  }

  async ended(tx: SiteTransaction, archive: ArchiveRow, row: RunRow): Promise<void> {
    const snapshots = row.result?.snapshots ?? [];
    for (const { id } of snapshots) await this.points.tell(tx, archive.archiveId, id);
    if (row.storedBefore !== null) {
      const stored = await this.vault.storedBytes(archive.archiveId);
      await this.usage.ingested(tx, archive, row, Math.max(0, stored - row.storedBefore));
      await this.usage.stored(tx, archive, stored);
    }
    const { archiveId } = archive;
    tx.afterCommit(() => {
      this.count(row);
      if (snapshots.length > 0) this.queue.wake(standingCopyJob, { archiveId }, { key: archiveId });
      for (const job of AFTER_RUN) this.queue.wake(job, { archiveId, runId: row.workId });
    });
  }

  private count({ state, startedAt, endedAt }: RunRow): void {
    this.metrics.increment(archiveRuns, { outcome: state });
    const leftAPoint = state === 'completed' || state === 'partial';
    if (!leftAPoint || !startedAt || !endedAt) return;
    const seconds = (endedAt.getTime() - startedAt.getTime()) / 1_000;
    this.metrics.observe(archiveRunSeconds, {}, Math.max(0, seconds));
  }
}

const differs = ({ startedAt, endedAt }: WorkResult, received: Date): boolean =>
  received.getTime() < Date.parse(startedAt) - CLOCK_DIFFERS_MS ||
  received.getTime() > Date.parse(endedAt) + CLOCK_DIFFERS_MS;

/** Faults make a run partial, never whole; so do snapshots that the vault never saw. */
function verdict(result: WorkResult, kept: number): { state: WorkResult['state']; failure: Failure | null } {
  const { state, failure, snapshots, faultCount } = result;
  if (state === 'failed' || state === 'cancelled') return { state, failure };
  if (kept === 0) {
    return {
      state: 'failed',
      failure: failure ?? {
        code: 'archive.nothing-received',
        message: 'The agent says that it is done, but the vault has received no recovery point.',
      },
    };
  }
  if (kept < snapshots.length) {
    const message = `The vault has received ${kept} of the ${snapshots.length} recovery points that the agent tells of.`;
    return { state: 'partial', failure: failure ?? { code: 'archive.not-all-received', message } };
  }
  return { state: faultCount > 0 ? 'partial' : state, failure };
}

/** Over the parts of a run. A number that one part does not know is not known of all. */
function summed({ snapshots }: WorkResult): RunSummary | null {
  const [first, ...others] = snapshots.map(({ summary }) => summary);
  if (!first) return null;
  const sum = others.reduce<RunSummary>(
    (total, one) => ({
      filesNew: total.filesNew + one.filesNew,
      filesChanged: total.filesChanged + one.filesChanged,
      filesUnmodified: total.filesUnmodified + one.filesUnmodified,
      filesRemoved:
        total.filesRemoved === null || one.filesRemoved === null ? null : total.filesRemoved + one.filesRemoved,
      bytesProcessed: total.bytesProcessed + one.bytesProcessed,
      bytesAdded: total.bytesAdded + one.bytesAdded,
      bytesAddedPacked: total.bytesAddedPacked + one.bytesAddedPacked,
      seconds: total.seconds + one.seconds,
    }),
    first,
  );
  return sum;
}

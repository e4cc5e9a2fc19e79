import { runResult, type RunReport, type RunState } from '#contracts/archive';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ForeignArchiveReportError } from '../archive.errors.js';
import { runHasEnded } from '../archive.states.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import type { ArchiveRow } from '../archives/archive-store.js';
import { ReportingArchives } from './reporting-archives.js';

/** Faults that a mail names; the run has all that were told. */
const FAULTS_MAILED = 20;

interface Known {
  readonly tenantId: string;
  readonly archiveId: string;
  readonly state: RunState;
}

/** A run, from its beginning to its end: each word is the whole of it. */
@AppliesResult(runResult)
export class RunHandler implements ResultHandler<RunReport> {
  constructor(
    private readonly reporting: ReportingArchives,
    private readonly record: ArchiveRecord,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<RunReport>): Promise<void> {
    const archive = await this.reporting.of(tx, result);
    const { payload } = result;
    const [known] = await tx.query<Known>(
      `SELECT tenant_id AS "tenantId", archive_id AS "archiveId", state FROM archive_run WHERE id = $1`,
      [payload.runId],
    );
    if (known && (known.archiveId !== archive.id || known.tenantId !== archive.tenantId)) {
      throw new ForeignArchiveReportError('run', payload.runId);
    }
    if (known && runHasEnded(known.state)) return;
    await this.keep(tx, archive, payload);
    if (payload.state === 'completed' || payload.state === 'partial') await this.completed(tx, archive, payload);
    if (known?.state !== payload.state) await this.tell(tx, archive, payload);
  }

  private async keep(tx: ProviderTransaction, archive: ArchiveRow, run: RunReport): Promise<void> {
    await tx.execute(
      `INSERT INTO archive_run (tenant_id, id, archive_id, cause, state, due_at, started_at, ended_at, progress, summary,
                                snapshot_ids, fault_count, faults, failure)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
       ON CONFLICT (tenant_id, id) DO UPDATE SET state = EXCLUDED.state, started_at = EXCLUDED.started_at,
         ended_at = EXCLUDED.ended_at, progress = EXCLUDED.progress, summary = EXCLUDED.summary,
         snapshot_ids = EXCLUDED.snapshot_ids, fault_count = EXCLUDED.fault_count, faults = EXCLUDED.faults,
         failure = EXCLUDED.failure, version = archive_run.version + 1`,
      [
        archive.tenantId,
        run.runId,
        archive.id,
        run.cause,
        run.state,
        run.dueAt,
        run.startedAt,
        run.endedAt,
        json(run.progress),
        json(run.summary),
        run.snapshotIds,
        run.faultCount,
        JSON.stringify(run.faults),
        json(run.failure),
      ],
    );
  }

  /** A partial run has left a recovery point too: it is no reason to call the archive late. */
  private async completed(tx: ProviderTransaction, archive: ArchiveRow, { endedAt }: RunReport): Promise<void> {
    await tx.execute(
      `UPDATE archive SET completed_at = greatest(completed_at, least(coalesce($3, now()), now())), late_told_at = NULL
        WHERE tenant_id = $1 AND id = $2`,
      [archive.tenantId, archive.id, endedAt],
    );
  }

  private async tell(tx: ProviderTransaction, archive: ArchiveRow, run: RunReport): Promise<void> {
    const { workloadName: name } = archive;
    const at = `/v1/archives/${archive.id}/runs/${run.runId}`;
    if (run.state === 'failed') {
      await this.record.tell(tx, archive, {
        kind: 'archives.run-failed',
        severity: 'alarm',
        title: `${name}: an archive run failed`,
        text: `The run of the archive of ${name} that was due at ${run.dueAt} failed: ${run.failure?.message ?? 'no reason given'} (${run.failure?.code ?? 'unknown'}). Its last recovery point is ${archive.newestPointAt?.toISOString() ?? 'none'}. See ${at}.`,
      });
    }
    if (run.state === 'partial') {
      const paths = run.faults.slice(0, FAULTS_MAILED).map(({ path, what }) => `  ${path}: ${what}`);
      await this.record.tell(tx, archive, {
        kind: 'archives.run-partial',
        severity: 'warning',
        title: `${name}: ${run.faultCount} files could not be archived`,
        text: [
          `The run of the archive of ${name} left a recovery point in which ${run.faultCount} files are missing, because they could not be read:`,
          ...paths,
          ...(run.faultCount > paths.length ? [`  … and ${run.faultCount - paths.length} more`] : []),
          `Give the agent the right to read them, or exclude them. See ${at}.`,
        ].join('\n'),
      });
    }
    if (run.state === 'unknown') {
      await this.record.tell(tx, archive, {
        kind: 'archives.silent',
        severity: 'warning',
        title: `${name}: nobody knows how the archive run does`,
        text: `The agent that archives ${name} fell silent during a run. It goes on by itself, or is begun anew, once the agent is back. Look at its machine and its line.`,
      });
    }
  }
}

const json = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));

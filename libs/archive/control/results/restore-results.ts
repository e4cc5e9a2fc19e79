import { restoreResult, type RestoreReport } from '#contracts/archive';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ForeignArchiveReportError } from '../archive.errors.js';
import { restoreHasEnded, type RestoreState } from '../archive.states.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { ReportingArchives } from './reporting-archives.js';

/** A restore, from its beginning to its end: each word is the whole of it. */
@AppliesResult(restoreResult)
export class RestoreHandler implements ResultHandler<RestoreReport> {
  constructor(
    private readonly reporting: ReportingArchives,
    private readonly record: ArchiveRecord,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<RestoreReport>): Promise<void> {
    const archive = await this.reporting.of(tx, result);
    const { payload } = result;
    const [known] = await tx.query<{ state: RestoreState }>(
      `SELECT state FROM archive_restore WHERE tenant_id = $1 AND archive_id = $2 AND id = $3`,
      [archive.tenantId, archive.id, payload.restoreId],
    );
    if (!known) throw new ForeignArchiveReportError('restore', payload.restoreId);
    if (restoreHasEnded(known.state)) return;
    await tx.execute(
      `UPDATE archive_restore SET state = $3, started_at = $4, ended_at = $5, progress = $6, files_restored = $7,
              files_skipped = $8, bytes_restored = $9, fault_count = $10, faults = $11, failure = $12, note = $13, version = version + 1
        WHERE tenant_id = $1 AND id = $2`,
      [
        archive.tenantId,
        payload.restoreId,
        payload.state,
        payload.startedAt,
        payload.endedAt,
        payload.progress && JSON.stringify(payload.progress),
        payload.filesRestored,
        payload.filesSkipped,
        payload.bytesRestored,
        payload.faultCount,
        JSON.stringify(payload.faults),
        payload.failure && JSON.stringify(payload.failure),
        payload.note ?? null,
      ],
    );
    if (!restoreHasEnded(payload.state)) return;
    const { workloadName: name } = archive;
    const skipped = payload.filesSkipped > 0 ? ` ${payload.filesSkipped} were there already and left as they are.` : '';
    const faults = payload.faultCount > 0 ? ` ${payload.faultCount} could not be written.` : '';
    const failure = payload.failure === null ? '' : ` ${payload.failure.message} (${payload.failure.code})`;
    await this.record.tell(tx, archive, {
      kind: 'archives.restore-ended',
      severity: payload.state === 'completed' ? 'information' : 'warning',
      title: `${name}: the restore ${payload.state === 'completed' ? 'is done' : `ended as ${payload.state}`}`,
      text: `${payload.filesRestored} files with ${payload.bytesRestored} bytes of ${name} were restored.${skipped}${faults}${failure}${payload.note === undefined ? '' : ` ${payload.note}`} See /v1/restores/${payload.restoreId}.`,
      about: { restoreId: payload.restoreId },
    });
  }
}

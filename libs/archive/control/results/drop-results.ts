import { dropResult } from '#contracts/archive';
import type { ResultContract } from '#contracts/sites';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ForeignArchiveReportError } from '../archive.errors.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { ReportingArchives } from './reporting-archives.js';

type DropReport = typeof dropResult extends ResultContract<infer P> ? P : never;

/** What became of a recovery point that two people wanted gone. */
@AppliesResult(dropResult)
export class DropHandler implements ResultHandler<DropReport> {
  constructor(
    private readonly reporting: ReportingArchives,
    private readonly record: ArchiveRecord,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<DropReport>): Promise<void> {
    const archive = await this.reporting.of(tx, result);
    const { dropId, snapshotId, state, failure } = result.payload;
    const [request] = await tx.query<{ state: string; pointId: string }>(
      `SELECT d.state, d.point_id AS "pointId" FROM drop_request d
         JOIN recovery_point p ON p.tenant_id = d.tenant_id AND p.id = d.point_id
        WHERE d.tenant_id = $1 AND d.id = $2 AND p.archive_id = $3 AND p.snapshot_id = $4`,
      [archive.tenantId, dropId, archive.id, snapshotId],
    );
    if (!request) throw new ForeignArchiveReportError('drop', dropId);
    if (request.state !== 'approved') return;
    await tx.execute(
      `UPDATE drop_request SET state = $3, failure = $4, finished_at = now() WHERE tenant_id = $1 AND id = $2`,
      [archive.tenantId, dropId, state, failure && JSON.stringify(failure)],
    );
    const { workloadName: name } = archive;
    const what = {
      done: 'was dropped from the archive, as two people wanted.',
      retained: `is not dropped yet: the vault holds everything for ${archive.policy.minimumAgeDays} days, whoever asks. Ask again after that.`,
      failed: `could not be dropped: ${failure?.message ?? 'no reason given'} (${failure?.code ?? 'unknown'}).`,
    }[state];
    await this.record.tell(tx, archive, {
      kind: 'archives.drop-ended',
      severity: state === 'done' ? 'information' : 'warning',
      title: `${name}: ${state === 'done' ? 'a recovery point was dropped' : 'a recovery point was not dropped'}`,
      text: `The recovery point ${request.pointId} of ${name} ${what}`,
      about: { pointId: request.pointId },
    });
    const actor = { kind: 'site' as const, id: result.siteId, name: archive.siteName };
    await this.record.did(tx, archive, actor, `recovery-point.drop-${state}`, { dropId, snapshotId });
  }
}

import { massChangeResult, type MassChangeReport } from '#contracts/archive';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ForeignArchiveReportError } from '../archive.errors.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import type { ArchiveRow } from '../archives/archive-store.js';
import { ReportingArchives } from './reporting-archives.js';

/** Paths that a mail names. */
const PATHS_MAILED = 20;

interface Known {
  readonly archiveId: string;
  readonly state: MassChangeReport['state'];
  readonly signals: MassChangeReport['signals'];
}

/** A suspected mass change, with the numbers behind it. It is called unusual, never an attack: people judge that. */
@AppliesResult(massChangeResult)
export class MassChangeHandler implements ResultHandler<MassChangeReport> {
  constructor(
    private readonly reporting: ReportingArchives,
    private readonly record: ArchiveRecord,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<MassChangeReport>): Promise<void> {
    const archive = await this.reporting.of(tx, result);
    const { payload } = result;
    const [known] = await tx.query<Known>(
      `SELECT archive_id AS "archiveId", state, signals FROM mass_change WHERE id = $1`,
      [payload.changeId],
    );
    if (known && known.archiveId !== archive.id) throw new ForeignArchiveReportError('mass change', payload.changeId);
    // What people have said is not taken back by a late word.
    if (known && known.state !== 'suspected' && payload.state === 'suspected') return;
    await tx.execute(
      `INSERT INTO mass_change (tenant_id, id, archive_id, run_id, state, at, signals, paths, last_good)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       ON CONFLICT (tenant_id, id) DO UPDATE SET state = EXCLUDED.state, signals = EXCLUDED.signals,
         paths = EXCLUDED.paths, last_good = EXCLUDED.last_good`,
      [
        archive.tenantId,
        payload.changeId,
        archive.id,
        payload.runId,
        payload.state,
        payload.at,
        JSON.stringify(payload.signals),
        JSON.stringify(payload.paths),
        payload.lastGood,
      ],
    );
    if (payload.state !== 'suspected') return;
    const more = payload.signals.filter(({ signal }) => !known?.signals.some((one) => one.signal === signal));
    if (more.length === 0) return;
    await (known ? this.tellMore(tx, archive, payload, more) : this.tell(tx, archive, payload));
    const actor = { kind: 'site' as const, id: result.siteId, name: archive.siteName };
    await this.record.did(tx, archive, actor, 'archive.change-suspected', {
      changeId: payload.changeId,
      runId: payload.runId,
      signals: payload.signals,
    });
  }

  /** What the test restore saw, after people were told of the change. */
  private tellMore(
    tx: ProviderTransaction,
    archive: ArchiveRow,
    { changeId }: MassChangeReport,
    more: MassChangeReport['signals'],
  ): Promise<void> {
    const { workloadName: name } = archive;
    return this.record.tell(tx, archive, {
      kind: 'archives.mass-change-seen',
      eachText: true,
      severity: 'alarm',
      title: `${name}: a test restore bears out the unusual change`,
      text: [
        `A recovery point of ${name} was restored as a test since the unusual change was suspected, and this was seen in it:`,
        ...more.flatMap(({ what, paths = [] }) => [`  ${what}`, ...paths.map((path) => `    ${path}`)]),
        `The last recovery point before it is kept (GET /v1/archives/${archive.id}/changes/${changeId}).`,
      ].join('\n'),
      about: { changeId },
    });
  }

  private tell(tx: ProviderTransaction, archive: ArchiveRow, change: MassChangeReport): Promise<void> {
    const { workloadName: name } = archive;
    const paths = change.paths.slice(0, PATHS_MAILED).map((path) => `  ${path}`);
    const at = `/v1/archives/${archive.id}/changes/${change.changeId}`;
    return this.record.tell(tx, archive, {
      kind: 'archives.mass-change',
      severity: 'alarm',
      title: `${name}: an unusual change`,
      text: [
        `The archive of ${name} changed in a way that it never did before:`,
        ...change.signals.map(({ what }) => `  ${what}`),
        ...(paths.length > 0 ? ['Among what changed:', ...paths] : []),
        `Nothing is removed from the archive until people have said what it was, and the last recovery point before it is kept. Look at the machine first. If the change was meant, say so (POST ${at}/verdict with false-positive).`,
      ].join('\n'),
      about: { changeId: change.changeId },
    });
  }
}

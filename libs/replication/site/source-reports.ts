import { Injectable } from '@nestjs/common';
import type { PulseWorkload } from '#contracts/replication';
import type { SiteTransaction } from '#libs/platform/database';

/** What the agent last said of its server, and how long ago by this site's database. */
export interface SourceReport {
  readonly receivedAt: Date;
  readonly ageSeconds: number;
  readonly lsn: string | null;
  readonly report: PulseWorkload;
  /** What it said against "armed" since it last said "armed"; null when nothing. */
  readonly contrary: string | null;
  readonly contrarySecondsAgo: number | null;
}

/** What it said against "armed" and has not taken back, for the other site; null when nothing. */
export const contraryOf = (report: SourceReport | undefined): { what: string; secondsAgo: number } | null =>
  report?.contrary == null ? null : { what: report.contrary, secondsAgo: report.contrarySecondsAgo ?? 0 };

/** Older than this, the source is silent, and what it said is no longer known to hold. */
export const SOURCE_FRESH_SECONDS = 4;

export const isFresh = (report: SourceReport | undefined): report is SourceReport =>
  report !== undefined && report.ageSeconds <= SOURCE_FRESH_SECONDS;

/** The agents' reports, which the link process writes with each pulse. */
@Injectable()
export class SourceReports {
  async of(tx: SiteTransaction, workloadId: string): Promise<SourceReport | undefined> {
    const [row] = await tx.query<SourceReport>(
      `SELECT received_at AS "receivedAt", lsn::text AS lsn, report,
              extract(epoch FROM clock_timestamp() - received_at)::float8 AS "ageSeconds",
              contrary,
              extract(epoch FROM clock_timestamp() - contrary_at)::float8 AS "contrarySecondsAgo"
         FROM source_report WHERE workload_id = $1`,
      [workloadId],
    );
    return row;
  }
}

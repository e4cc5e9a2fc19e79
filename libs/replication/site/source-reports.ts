import { Injectable } from '@nestjs/common';
import type { PulseWorkload } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { SiteTransaction } from '#libs/platform/database';

/** What the agent last said of its server, and how long ago by this site's database. */
export interface SourceReport {
  readonly receivedAt: Date;
  readonly ageSeconds: number;
  readonly lsn: string | null;
  readonly report: PulseWorkload;
  /** What it said against each site's being armed since it last said that it is; null when nothing. */
  readonly contrary: Readonly<Record<SiteRole, Contrary | null>>;
}

export interface Contrary {
  readonly what: string;
  readonly secondsAgo: number;
}

/** What the agent said against the other site's being armed, and has not taken back; null when nothing. */
export const contraryToOther = (role: SiteRole, report: SourceReport | undefined): Contrary | null =>
  report?.contrary[role === 'metro' ? 'regional' : 'metro'] ?? null;

/** Whether the regional site was the synchronous one when the agent was last heard. */
export const regionalLeads = (report: SourceReport | undefined): boolean =>
  report?.report.synchronousSite === 'regional';

/** Whether a regional site is itself the synchronous one, as far as it has heard. */
export const leadsHere = ({ role }: { readonly role: SiteRole }, report: SourceReport | undefined): boolean =>
  role === 'regional' && regionalLeads(report);

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
              json_build_object(
                'metro', CASE WHEN contrary IS NOT NULL THEN json_build_object('what', contrary,
                  'secondsAgo', coalesce(extract(epoch FROM clock_timestamp() - contrary_at), 0)::float8) END,
                'regional', CASE WHEN contrary_regional IS NOT NULL THEN json_build_object('what', contrary_regional,
                  'secondsAgo', coalesce(extract(epoch FROM clock_timestamp() - contrary_regional_at), 0)::float8) END
              ) AS contrary
         FROM source_report WHERE workload_id = $1`,
      [workloadId],
    );
    return row;
  }
}

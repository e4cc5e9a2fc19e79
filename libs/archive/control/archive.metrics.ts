import { COUNTED_AT_MOST, UnitOfWork } from '#libs/platform/database';
import { provideCollector } from '#libs/platform/nest';
import { defineGauge } from '#libs/platform/telemetry';
import { AGENT_GONE, LATE } from './archives/measured.js';

export const archivesLate = defineGauge(
  'mainstay_archives_late',
  `Archives without a recovery point for more than twice the time between two runs, by site; of ${COUNTED_AT_MOST} archives in all.`,
  ['site_id'],
);
export const archivesUnknown = defineGauge(
  'mainstay_archives_unknown',
  `Archives of which nobody knows how they do, since their site or their agent is silent; of ${COUNTED_AT_MOST} archives in all.`,
  ['site_id'],
);

/** As an archive's condition has it: what a silent site said last is not what is. */
const UNKNOWN = `a.state NOT IN ('ending', 'failed') AND (
  NOT coalesce(heard.received_at > now() - interval '10 seconds', false) OR a.alarms @> '[{"code": "source-silent"}]'
  OR ${AGENT_GONE}
  OR (SELECT r.state FROM archive_run r WHERE r.tenant_id = a.tenant_id AND r.archive_id = a.id
       ORDER BY r.due_at DESC, r.id DESC LIMIT 1) = 'unknown')`;

/** What nobody else tells of: a site that is gone has no figures of its own. */
export const archivesCollector = provideCollector({
  name: 'archives',
  metrics: [archivesLate, archivesUnknown],
  from: [UnitOfWork],
  collect: async (work) => {
    const rows = await work.measure((tx) =>
      tx.query<{ siteId: string; late: number; unknown: number }>(
        `SELECT site.id AS "siteId", coalesce(own.late, 0)::int AS late, coalesce(own.unknown, 0)::int AS unknown
           FROM site LEFT JOIN (
             SELECT a.site_id, count(*) FILTER (WHERE ${LATE}) AS late, count(*) FILTER (WHERE ${UNKNOWN}) AS unknown
               FROM (SELECT * FROM archive WHERE ended_at IS NULL LIMIT ${COUNTED_AT_MOST}) a
               LEFT JOIN site_state heard ON heard.site_id = a.site_id GROUP BY a.site_id) own ON own.site_id = site.id
          WHERE site.retired_at IS NULL OR own.site_id IS NOT NULL`,
      ),
    );
    return rows.flatMap(({ siteId, late, unknown }) => [
      { metric: archivesLate, labels: { site_id: siteId }, value: late },
      { metric: archivesUnknown, labels: { site_id: siteId }, value: unknown },
    ]);
  },
});

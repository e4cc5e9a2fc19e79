import { COUNTED_AT_MOST, UnitOfWork } from '#libs/platform/database';
import { provideCollector } from '#libs/platform/nest';
import { defineGauge, type Sample } from '#libs/platform/telemetry';

export const ordersUndelivered = defineGauge(
  'mainstay_orders_undelivered',
  `Orders that a site has not acknowledged yet; counted up to ${COUNTED_AT_MOST} in all.`,
  ['site_id'],
);
export const ordersOldest = defineGauge(
  'mainstay_orders_undelivered_oldest_seconds',
  'Age of the oldest order that a site has not acknowledged; 0 when there is none.',
  ['site_id'],
);
export const siteSilent = defineGauge(
  'mainstay_site_silent_seconds',
  'Since a site last showed its state to the control plane; absent for one that never did.',
  ['site_id'],
);
export const resultsUnapplied = defineGauge(
  'mainstay_results_unapplied',
  'Results of a site that could not be applied and were set aside for a person to look at.',
  ['site_id'],
);

interface SiteRow {
  readonly siteId: string;
  readonly undelivered: number;
  readonly oldest: number;
  readonly silent: number | null;
  readonly unapplied: number;
}

/** How the control plane and its sites get on. */
export const sitesCollector = provideCollector({
  name: 'sites',
  metrics: [ordersUndelivered, ordersOldest, siteSilent, resultsUnapplied],
  from: [UnitOfWork],
  collect: async (work) => {
    const rows = await work.measure((tx) =>
      tx.query<SiteRow>(
        `SELECT site.id AS "siteId", coalesce(open.count, 0)::int AS undelivered,
                  coalesce(open.oldest, 0)::float8 AS oldest,
                  extract(epoch FROM now() - state.received_at)::float8 AS silent,
                  (SELECT count(*) FROM (SELECT FROM unapplied_result aside WHERE aside.site_id = site.id
                                          LIMIT ${COUNTED_AT_MOST}) kept)::int AS unapplied
             FROM site LEFT JOIN site_state state ON state.site_id = site.id
             LEFT JOIN (SELECT site_id, count(*), extract(epoch FROM now() - min(issued_at)) AS oldest
                          FROM (SELECT site_id, issued_at FROM outgoing_order WHERE state = 'pending'
                                 LIMIT ${COUNTED_AT_MOST}) pending GROUP BY site_id) open ON open.site_id = site.id
            WHERE site.retired_at IS NULL OR open.count > 0`,
      ),
    );
    return rows.flatMap(({ siteId, undelivered, oldest, silent, unapplied }): Sample[] => {
      const labels = { site_id: siteId };
      return [
        { metric: ordersUndelivered, labels, value: undelivered },
        { metric: ordersOldest, labels, value: Math.max(0, oldest) },
        ...(silent === null ? [] : [{ metric: siteSilent, labels, value: Math.max(0, silent) }]),
        { metric: resultsUnapplied, labels, value: unapplied },
      ];
    });
  },
});

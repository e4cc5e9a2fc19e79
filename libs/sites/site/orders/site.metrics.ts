import { COUNTED_AT_MOST, SiteUnitOfWork } from '#libs/platform/database';
import { provideCollector } from '#libs/platform/nest';
import { defineGauge, type Sample } from '#libs/platform/telemetry';

export const siteOrdersOpen = defineGauge(
  'mainstay_site_orders_open',
  `Orders that this site has and has not finished; counted up to ${COUNTED_AT_MOST}.`,
);
export const siteOrdersOldest = defineGauge(
  'mainstay_site_orders_open_oldest_seconds',
  'Since this site has had the oldest order that it has not finished; 0 when there is none.',
);
export const siteResultsUntold = defineGauge(
  'mainstay_site_results_untold',
  `Results that the control plane has not fetched from this site; counted up to ${COUNTED_AT_MOST}.`,
);
export const siteResultsOldest = defineGauge(
  'mainstay_site_results_untold_oldest_seconds',
  'Age of the oldest result that the control plane has not fetched; 0 when there is none.',
);

interface Row {
  readonly open: number;
  readonly openOldest: number;
  readonly untold: number;
  readonly untoldOldest: number;
}

/** What lies here in either direction: orders to carry out, results to tell. */
export const siteOrdersCollector = provideCollector({
  name: 'site-orders',
  metrics: [siteOrdersOpen, siteOrdersOldest, siteResultsUntold, siteResultsOldest],
  from: [SiteUnitOfWork],
  collect: async (work): Promise<Sample[]> => {
    const [row] = await work.measure((tx) =>
      tx.query<Row>(
        `SELECT orders.count::int AS open, coalesce(orders.oldest, 0)::float8 AS "openOldest",
                  results.count::int AS untold, coalesce(results.oldest, 0)::float8 AS "untoldOldest"
             FROM (SELECT count(*), extract(epoch FROM clock_timestamp() - min(received_at)) AS oldest
                     FROM (SELECT received_at FROM site_order WHERE state = 'received' ORDER BY number
                            LIMIT ${COUNTED_AT_MOST}) open) orders,
                  (SELECT count(*), extract(epoch FROM clock_timestamp() - min(at)) AS oldest
                     FROM (SELECT at FROM site_result
                            WHERE seq IS NULL OR seq > (SELECT acknowledged_seq FROM site_outbox)
                            LIMIT ${COUNTED_AT_MOST}) untold) results`,
      ),
    );
    const { open = 0, openOldest = 0, untold = 0, untoldOldest = 0 } = row ?? {};
    return [
      { metric: siteOrdersOpen, labels: {}, value: open },
      { metric: siteOrdersOldest, labels: {}, value: openOldest },
      { metric: siteResultsUntold, labels: {}, value: untold },
      { metric: siteResultsOldest, labels: {}, value: untoldOldest },
    ];
  },
});

import { COUNTED_AT_MOST, UnitOfWork } from '#libs/platform/database';
import { provideCollector } from '#libs/platform/nest';
import { defineGauge, type Sample } from '#libs/platform/telemetry';

export const eventsUndelivered = defineGauge(
  'mainstay_events_undelivered',
  `Events that their subscribers have not worked on yet; counted up to ${COUNTED_AT_MOST}.`,
);
export const eventsOldest = defineGauge(
  'mainstay_events_undelivered_oldest_seconds',
  'Age of the oldest event that was not delivered; 0 when there is none.',
);

/** How far the delivery of events is behind. */
export const outboxCollector = provideCollector({
  name: 'events',
  metrics: [eventsUndelivered, eventsOldest],
  from: [UnitOfWork],
  collect: async (work): Promise<Sample[]> => {
    const [row] = await work.measure((tx) =>
      tx.query<{ count: number; oldest: number }>(
        `SELECT count(*)::int AS count, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
             FROM (SELECT created_at FROM outbox_event WHERE delivered_at IS NULL ORDER BY created_at
                    LIMIT ${COUNTED_AT_MOST}) open`,
      ),
    );
    return [
      { metric: eventsUndelivered, labels: {}, value: row?.count ?? 0 },
      { metric: eventsOldest, labels: {}, value: row?.oldest ?? 0 },
    ];
  },
});

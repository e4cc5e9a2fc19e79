import { COUNTED_AT_MOST, UnitOfWork } from '#libs/platform/database';
import { provideCollector } from '#libs/platform/nest';
import { defineGauge, type Sample } from '#libs/platform/telemetry';

export const mailsUnsent = defineGauge(
  'mainstay_mails_unsent',
  `Mails that wait to be taken by the SMTP server, by whether they are still tried; counted up to ${COUNTED_AT_MOST}.`,
  ['state'],
);
export const mailsOldest = defineGauge(
  'mainstay_mails_unsent_oldest_seconds',
  'Age of the oldest mail that is still tried; 0 when there is none.',
);

/** What mail is held up: a notice of a failover is one. */
export const mailCollector = provideCollector({
  name: 'mails',
  metrics: [mailsUnsent, mailsOldest],
  from: [UnitOfWork],
  collect: async (work): Promise<Sample[]> => {
    const [row] = await work.measure((tx) =>
      tx.query<{ tried: number; givenUp: number; oldest: number }>(
        // The newest first: what was given up years ago must not hide what waits now.
        `SELECT count(*) FILTER (WHERE tried)::int AS tried, count(*) FILTER (WHERE NOT tried)::int AS "givenUp",
                  coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE tried)), 0)::float8 AS oldest
             FROM (SELECT created_at, failed_at IS NULL AS tried FROM mail_message
                    WHERE sent_at IS NULL ORDER BY created_at DESC LIMIT ${COUNTED_AT_MOST}) open`,
      ),
    );
    return [
      { metric: mailsUnsent, labels: { state: 'tried' }, value: row?.tried ?? 0 },
      { metric: mailsUnsent, labels: { state: 'given-up' }, value: row?.givenUp ?? 0 },
      { metric: mailsOldest, labels: {}, value: row?.oldest ?? 0 },
    ];
  },
});

import { z } from 'zod';
import { defineEvent } from '#libs/platform/outbox';

export const NOTICE_SEVERITIES = ['information', 'warning', 'alarm'] as const;

/**
 * Something that an agency's people should be told. Libraries above publish it
 * (`outbox.publish(tx, noticeRaised, tenantId, {…})`); who is told, and how often, is decided here.
 */
export const noticeRaised = defineEvent({
  topic: 'notifications.notice-raised',
  payload: z.strictObject({
    /** Dotted and stable: `failover.declared`, `failover.finished`, `replication.disarmed`. */
    kind: z.string().regex(/^[a-z-]+\.[a-z-]+$/),
    severity: z.enum(NOTICE_SEVERITIES),
    /** The mail's subject, without the agency's name. */
    title: z.string().min(1).max(150),
    /** Plain text for a person at 3 a.m.: what happened, what it means, what to do. */
    text: z.string().min(1).max(4_000),
    /** Ids of what it is about, for links: `{ workloadId: '…' }`. */
    subjectIds: z.record(z.string(), z.string()),
    /** Notices with one key within an hour are told once: a flapping link must not fill a mailbox. */
    dedupeKey: z.string().max(200),
  }),
});
export type Notice = z.infer<typeof noticeRaised.payload>;

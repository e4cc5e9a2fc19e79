import { z } from 'zod';
import { atMost, defineResult, lsn, siteRole, text, uuid } from '#contracts/sites';
import { epoch, timeline } from './terms.js';

// Site → control plane: states, measured health, and the durable news of a protection.

export const STANDBY_STATES = [
  'preparing',
  'seeding',
  'catching-up',
  'streaming',
  'broken',
  'paused',
  'promoting',
  'primary',
  'removing',
  'removed',
] as const;
export const standbyState = z.enum(STANDBY_STATES);
export type StandbyState = z.infer<typeof standbyState>;

/** Of one workload, at once. */
export const ALARMS_MAX = 50;
export const alarm = z.strictObject({ code: text(100), what: text(1_000), remedy: text(1_000) });
export type Alarm = z.infer<typeof alarm>;

export const seedingProgress = z.strictObject({
  bytesTotal: z.number(),
  bytesDone: z.number(),
  bytesTransferred: z.number(),
  bytesPerSecond: z.number(),
  secondsLeft: z.number().nullable(),
  attempt: z.number().int(),
});

const CERTIFICATE = /^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n$/;
const certificate = z.string().max(4_000).regex(CERTIFICATE);

/** One site's measured state of one workload. Unknown is null, never 0: a silent source is not a healthy one. */
export const standbyHealth = z.strictObject({
  workloadId: uuid,
  tenantId: uuid,
  role: siteRole,
  state: standbyState,
  epoch,
  /** When the site last heard the agent about this workload; null when never. */
  sourceSeenAt: z.iso.datetime().nullable(),
  sourceLsn: lsn.nullable(),
  receivedLsn: lsn.nullable(),
  replayedLsn: lsn.nullable(),
  timeline: timeline.nullable(),
  bytesBehind: z.number().nullable(),
  secondsBehind: z.number().nullable(),
  /** Of the synchronous site; null at the other. */
  armed: z.boolean().nullable(),
  /** As the agent last told this site, when it was last seen; null when it never said. */
  synchronousSite: siteRole.nullable().optional(),
  armedSince: z.iso.datetime().nullable(),
  /** Until when this site may believe that production is armed. */
  armedUntil: z.iso.datetime().nullable(),
  /** Set while production runs without this site's acknowledgement although it was the synchronous one. */
  asynchronousSinceLsn: lsn.nullable(),
  seeding: seedingProgress.nullable(),
  alarms: atMost(alarm, ALARMS_MAX),
  frontDoor: z
    .strictObject({
      host: z.string().max(255),
      port: z.number().int(),
      leadsTo: z.enum(['production', 'standby', 'closed']),
      /** PEM: what signs for this door's standby to clients that use TLS. Null until it is made. */
      authority: certificate.nullable().optional(),
    })
    .nullable(),
});
export type StandbyHealth = z.infer<typeof standbyHealth>;

/** A change of a standby's state, durable, for the history and for notices. */
export const standbyChanged = defineResult(
  'replication.standby-changed',
  z.strictObject({ workloadId: uuid, role: siteRole, state: standbyState, reason: text(1_000).nullable() }),
);
/** Armed, disarmed, degraded: each change of what an acknowledgement means. */
export const armingChanged = defineResult(
  'replication.arming-changed',
  z.strictObject({ workloadId: uuid, armed: z.boolean(), sinceLsn: lsn.nullable(), reason: text(1_000) }),
);
export const unprotectedResult = defineResult(
  'replication.unprotected',
  z.strictObject({ workloadId: uuid, role: siteRole }),
);
interface Transactions {
  transactions: readonly unknown[];
  truncated: boolean;
}
const TRANSACTIONS_MAX = 1_000;
function cutTransactions<T extends Transactions>(said: T): T {
  if (said.transactions.length <= TRANSACTIONS_MAX) return said;
  return { ...said, transactions: said.transactions.slice(0, TRANSACTIONS_MAX), truncated: true };
}

/** Transactions that only the old primary has, found when it came back. */
export const divergenceFound = defineResult(
  'replication.divergence',
  z
    .strictObject({
      workloadId: uuid,
      epoch,
      forkedAtLsn: lsn,
      endLsn: lsn,
      transactions: z.array(z.strictObject({ xid: text(20), committedAt: text(60).nullable(), lsn })),
      truncated: z.boolean(),
    })
    .overwrite(cutTransactions),
);
/** The returning old primary was stopped and made unable to write. */
export const oldPrimaryFenced = defineResult(
  'replication.old-primary-fenced',
  z.strictObject({ workloadId: uuid, epoch, at: z.iso.datetime(), evidence: text(2_000) }),
);

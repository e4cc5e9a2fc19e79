import { z } from 'zod';
import { atMost, defineOrder, defineResult, facts, lsn, peerSite, text, uuid } from '#contracts/sites';
import { epoch, replicationNames } from '#contracts/replication';

/** How the agency's old server was stopped, as a person says it; the record keeps their word. */
export const oldServerFate = z.enum(['not-asked', 'destroyed', 'switched-off', 'cut-off', 'unknown']);
export type OldServerFate = z.infer<typeof oldServerFate>;

/** What the declaring person accepts to lose: nothing, so many bytes of log, or an amount that nobody knows. */
export const acceptedLoss = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  z.strictObject({ kind: z.literal('bounded'), bytes: z.number().int().nonnegative() }),
  z.strictObject({ kind: z.literal('unknown') }),
]);
export type AcceptedLoss = z.infer<typeof acceptedLoss>;

/** What a failover loses, as far as it can be known. `none` is claimed only when it is proved. */
export const lossStatement = z.strictObject({
  kind: z.enum(['none', 'bounded', 'unknown']),
  /** For `bounded`: bytes of log between the source's last report and what the site has. */
  bytes: z.number().nullable(),
  why: text(1_000),
});
export type LossStatement = z.infer<typeof lossStatement>;

export const RUN_STATES = [
  'accepted',
  'running',
  'awaiting-confirmation',
  'cancelling',
  'cancelled',
  'completed',
  'failed',
] as const;
export const runState = z.enum(RUN_STATES);
export type RunState = z.infer<typeof runState>;

/** The steps of an unplanned failover, in their order. Each is safe to repeat. */
export const RUN_STEPS = [
  'refuse-leases',
  'fence-agency',
  'stop-receivers',
  'compare',
  'fetch-missing',
  'promote',
  'check-writable',
  'switch-front-door',
  'repoint-other-site',
  'notify',
] as const;
export const runStep = z.enum(RUN_STEPS);
export type RunStep = z.infer<typeof runStep>;

export const failoverOrder = defineOrder(
  'failover.run',
  z.strictObject({
    runId: uuid,
    workloadId: uuid,
    declaration: z.number().int().positive(),
    /** The fencing epoch of the promotion: one above the workload's. */
    epoch,
    oldServer: oldServerFate,
    acceptedLoss,
    /**
     * True when the control plane has recorded nothing in this epoch that lets production go on without this site, and
     * gives nothing from now on. To the metro: no grant to degrade at all. To the regional site: none but to itself.
     */
    noDegradeGranted: z.boolean(),
    /** A grant of this epoch let the regional site become the synchronous one. Absent: none did. */
    regionalGranted: z.boolean().optional(),
    names: replicationNames,
    otherSite: peerSite.nullable(),
  }),
  { urgent: true },
);
export type FailoverPayload = z.infer<typeof failoverOrder.payload>;
export const cancelFailoverOrder = defineOrder('failover.cancel', z.strictObject({ runId: uuid }), { urgent: true });
export const confirmFailoverOrder = defineOrder(
  'failover.confirm',
  z.strictObject({ runId: uuid, acceptedLoss, oldServer: oldServerFate }),
  { urgent: true },
);

/** The words of {@link standAsideOrder}, each outweighing those before it in the same epoch. */
export const STAND_ASIDE_WORDS = ['hold', 'resume', 'promoted'] as const;
export type StandAsideWord = (typeof STAND_ASIDE_WORDS)[number];

/**
 * To the site of the pair that a run does not promote. `hold`: from the declaration on it receives nothing, gives no
 * lease for older epochs and does not go on by itself. `promoted`: the other site is the primary of `epoch`; this one
 * never serves or follows an older epoch again, and waits to be asked by the other to follow it. `resume`: the run ended
 * without a promotion. A word about an older epoch than one known undoes nothing.
 */
export const standAsideOrder = defineOrder(
  'failover.stand-aside',
  z.strictObject({
    workloadId: uuid,
    runId: uuid,
    epoch,
    word: z.enum(STAND_ASIDE_WORDS),
    /** With `promoted`: where the new timeline begins, when the run's site has told it. */
    promotedAtLsn: lsn.nullable(),
    promotedTimeline: z.number().int().nullable(),
  }),
  { urgent: true },
);
export type StandAside = z.infer<typeof standAsideOrder.payload>;

/** One event of a run: a step's begin, end, failure, or a change of the run's state. */
export const runEvent = z.strictObject({
  runId: uuid,
  workloadId: uuid,
  /** Counts from 1 in each run. */
  number: z.number().int().positive(),
  at: z.iso.datetime(),
  state: runState,
  step: runStep.nullable(),
  stepState: z.enum(['started', 'done', 'skipped', 'retrying', 'failed']).nullable(),
  attempt: z.number().int().nullable(),
  /** One sentence for a person at 3 a.m. */
  message: text(2_000),
  /** Positions, times, answers: what shows that the step did what it says. Never secrets. */
  evidence: facts(16_000),
});
export type RunEvent = z.infer<typeof runEvent>;
export const runEventResult = defineResult('failover.event', runEvent);

export const runReport = z.strictObject({
  runId: uuid,
  workloadId: uuid,
  epoch,
  promotedAtLsn: lsn.nullable(),
  promotedTimeline: z.number().int().nullable(),
  loss: lossStatement,
  /** Seconds from the site's receipt of the order to its first accepted write. */
  secondsToFirstWrite: z.number().nullable(),
  /** How far the other site was behind when the run compared them, in bytes; null when it did not answer. */
  otherSiteLagBytes: z.number().nullable(),
  frontDoor: z.strictObject({ host: z.string().max(255), port: z.number().int() }).nullable(),
});
export const runFinishedResult = defineResult(
  'failover.finished',
  z.strictObject({ state: runState, report: runReport, reason: text(2_000).nullable() }),
);

/** What an agent said to a site that speaks against "armed", and has not taken back since. */
export const contraryEvidence = z.strictObject({ what: text(500), secondsAgo: z.number() });
export type ContraryEvidence = z.infer<typeof contraryEvidence>;

/** What the site says of a workload's readiness to be promoted, for the dry answer before a declaration. */
export const promotionOutlook = z.strictObject({
  workloadId: uuid,
  canPromote: z.boolean(),
  loss: lossStatement,
  bytesBehind: z.number().nullable(),
  armed: z.boolean().nullable(),
  /** Since the agent last said "armed" to this site in this epoch; null when it never did. */
  armedSecondsAgo: z.number().nullable().optional(),
  /** Counts against another site's claim that nothing is lost, unless that site heard "armed" since. */
  contrary: contraryEvidence.nullable().optional(),
  obstacles: atMost(z.strictObject({ code: text(100), what: text(1_000), remedy: text(1_000) }), 50),
});
export type PromotionOutlook = z.infer<typeof promotionOutlook>;

// ---- Between sites (peer commands through the gateway) ------------------------------------------------------------

/** Stop this workload's walreceiver here and say what it has: before a promotion elsewhere. */
export const peerStopReceiving = {
  path: '/v1/peer/stop-receiving',
  input: z.strictObject({ workloadId: uuid, epoch }),
  output: z.object({
    receivedLsn: lsn.nullable(),
    timeline: z.number().int().nullable(),
    contrary: contraryEvidence.nullable().optional(),
  }),
};
/** Follow the peer that asks, which has promoted the workload as `epoch`. Answers whether it can, or must be re-seeded. */
export const peerFollow = {
  path: '/v1/peer/follow',
  input: z.strictObject({
    workloadId: uuid,
    epoch,
    promotedAtLsn: lsn,
    promotedTimeline: z.number().int(),
    user: z.string().max(63),
    password: z.string().max(200),
    slot: z.string().max(63),
    /** From where the slot keeps the log: a standby that has not come so far cannot follow, and is copied anew. */
    keptFromLsn: lsn.optional(),
  }),
  output: z.object({ following: z.boolean(), reason: text(1_000).nullable() }),
};
/** The promotion that {@link peerStopReceiving} was for does not come: receive from the agency again. */
export const peerResumeReceiving = {
  path: '/v1/peer/resume-receiving',
  /** `epoch`: of the run that is over; without it an order to stand aside stays in force. */
  input: z.strictObject({ workloadId: uuid, epoch: epoch.optional() }),
  output: z.object({ ok: z.literal(true) }),
};

import { z } from 'zod';
import { defineOrder, defineResult, lsn, peerSite, uuid } from '#contracts/sites';
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
  why: z.string(),
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
    /** True when the control plane has recorded no grant to degrade in this epoch, and gives none from now on. */
    noDegradeGranted: z.boolean(),
    names: replicationNames,
    otherSite: peerSite.nullable(),
  }),
);
export type FailoverPayload = z.infer<typeof failoverOrder.payload>;
export const cancelFailoverOrder = defineOrder('failover.cancel', z.strictObject({ runId: uuid }));
export const confirmFailoverOrder = defineOrder(
  'failover.confirm',
  z.strictObject({ runId: uuid, acceptedLoss, oldServer: oldServerFate }),
);

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
  message: z.string(),
  /** Positions, times, answers: what shows that the step did what it says. Never secrets. */
  evidence: z.record(z.string(), z.unknown()),
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
  frontDoor: z.strictObject({ host: z.string(), port: z.number().int() }).nullable(),
});
export const runFinishedResult = defineResult(
  'failover.finished',
  z.strictObject({ state: runState, report: runReport, reason: z.string().nullable() }),
);

/** What the site says of a workload's readiness to be promoted, for the dry answer before a declaration. */
export const promotionOutlook = z.strictObject({
  workloadId: uuid,
  canPromote: z.boolean(),
  loss: lossStatement,
  bytesBehind: z.number().nullable(),
  armed: z.boolean().nullable(),
  obstacles: z.array(z.strictObject({ code: z.string(), what: z.string(), remedy: z.string() })),
});
export type PromotionOutlook = z.infer<typeof promotionOutlook>;

// ---- Between sites (peer commands through the gateway) ------------------------------------------------------------

/** Stop this workload's walreceiver here and say what it has: before a promotion elsewhere. */
export const peerStopReceiving = {
  path: '/v1/peer/stop-receiving',
  input: z.strictObject({ workloadId: uuid, epoch }),
  output: z.object({ receivedLsn: lsn.nullable(), timeline: z.number().int().nullable() }),
};
/** Follow the peer that asks, which has promoted the workload as `epoch`. Answers whether it can, or must be re-seeded. */
export const peerFollow = {
  path: '/v1/peer/follow',
  input: z.strictObject({
    workloadId: uuid,
    epoch,
    promotedAtLsn: lsn,
    promotedTimeline: z.number().int(),
    user: z.string(),
    password: z.string(),
    slot: z.string(),
  }),
  output: z.object({ following: z.boolean(), reason: z.string().nullable() }),
};
/** The promotion that {@link peerStopReceiving} was for does not come: receive from the agency again. */
export const peerResumeReceiving = {
  path: '/v1/peer/resume-receiving',
  input: z.strictObject({ workloadId: uuid }),
  output: z.object({ ok: z.literal(true) }),
};

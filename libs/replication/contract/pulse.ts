import { z } from 'zod';
import { atMost, lsn, siteRole, text, uuid } from '#contracts/sites';
import { alarm, ALARMS_MAX, divergenceFound } from './health.js';
import { epoch, protectionMode, replicationNames, timeline, workloadName } from './terms.js';

// The question that a site's link asks of the agent every second, and its answer.

export const LEASE_SECONDS = 10;
/** Added by the agent to what it promises, for clocks whose rates differ. */
export const LEASE_MARGIN_SECONDS = 2;

/**
 * Said to the metro site while the regional one is the synchronous one and armed. `armed` is false then, so that a metro
 * site which does not know `synchronousSite` believes nothing.
 */
export const REGIONAL_LEADS = 'the regional site is the synchronous one';

export const pulseRequest = z.strictObject({
  workloads: z.array(
    z.strictObject({
      workloadId: uuid,
      name: workloadName,
      role: siteRole,
      mode: protectionMode,
      /** The newest epoch that the site knows. An agent whose server is of an older one fences it. */
      epoch,
      /**
       * Whether this site's word may tell the agency's server that its epoch is the newest; absent: yes. False while the
       * site is held for the other one's promotion, of whose end it may not have heard.
       */
      confirms: z.boolean().optional(),
      names: replicationNames,
      /** Where the new timeline began, once this site has promoted: what the old server has after it is orphaned. */
      promotedAtLsn: lsn.nullable(),
      promotedTimeline: timeline.nullable(),
      refuseLease: z.boolean(),
      /**
       * This site has durably recorded "asynchronous since"; the agent may start its receiver for so long, counted from
       * its last answer to this site before this pulse: a frozen agent may read a pulse late, and the site counts from
       * when it sent it. Absent again: the grant is over.
       */
      disarmed: z
        .strictObject({
          requestId: uuid,
          leaseSeconds: z.number().int(),
          /**
           * What it lets the agent do: go on alone (absent), or make this site the synchronous one. Said only to an agent
           * that has answered with `synchronousSite`.
           */
          to: siteRole.optional(),
          /**
           * The control plane keeps this grant. Only such a one counts from a site that is not the synchronous one. Said
           * as `to` is.
           */
          byOrder: z.boolean().optional(),
        })
        .nullable(),
      rearm: z.boolean(),
      rebootUntil: z.iso.datetime().nullable(),
    }),
  ),
});
export type PulseRequest = z.infer<typeof pulseRequest>;

export const pulseWorkload = z.object({
  workloadId: uuid,
  reachable: z.boolean(),
  lsn: lsn.nullable(),
  timeline: timeline.nullable(),
  systemIdentifier: z.string().max(20).nullable(),
  wallClock: z.iso.datetime(),
  inRecovery: z.boolean().nullable(),
  /**
   * Every acknowledged write is at the synchronous site, and waits for it. To the metro site always of itself: false with
   * {@link REGIONAL_LEADS} while that is the other one.
   */
  armed: z.boolean(),
  /**
   * The site that synchronous_standby_names lists, as last seen; null when it lists neither. Absent: an agent that knows
   * the metro only.
   */
  synchronousSite: siteRole.nullable().optional(),
  /** By which the agent goes: the metro's word, which the regional site's may be ahead of. */
  mode: protectionMode.optional(),
  armedSince: z.iso.datetime().nullable(),
  /** Why it is not armed, or null. */
  notArmedBecause: text(500).nullable(),
  /** The agent asks to go on without the metro (available mode, or a person's request at the agency). */
  disarmRequest: z.strictObject({ requestId: uuid, lsn, reason: text(500) }).nullable(),
  /**
   * While the regional site is the synchronous one: the metro is back and near, and the agent asks to return to it. To be
   * recorded before it is allowed.
   */
  returnRequest: z
    .strictObject({ requestId: uuid, lsn, reason: text(500) })
    .nullable()
    .optional(),
  degraded: z.strictObject({ since: z.iso.datetime(), secondsLeft: z.number() }).nullable(),
  fenced: z.strictObject({ epoch, at: z.iso.datetime(), evidence: text(2_000) }).nullable(),
  divergence: divergenceFound.payload.nullable(),
  slots: atMost(
    z.strictObject({
      name: text(63),
      active: z.boolean(),
      walStatus: text(20).nullable(),
      safeWalBytes: z.number().nullable(),
      retainedBytes: z.number().nullable(),
    }),
    64,
  ),
  alarms: atMost(alarm, ALARMS_MAX),
});
export type PulseWorkload = z.infer<typeof pulseWorkload>;
export const pulseAnswer = z.object({ instanceId: text(100), workloads: atMost(pulseWorkload, 1_000) });
export type PulseAnswer = z.infer<typeof pulseAnswer>;

import { z } from 'zod';
import { defineOrder, defineResult, peerSite, siteRole, text, uuid } from '#contracts/sites';
import { clientNetworks } from './networks.js';
import { epoch, preflightReport, protectionMode, replicationNames, workloadName } from './terms.js';

// Control plane → site.

/** A site gives up on an agent that does not answer a preflight after so long. */
export const PREFLIGHT_ENDS_SECONDS = 300;

export const preflightOrder = defineOrder(
  'replication.preflight',
  z.strictObject({ preflightId: uuid, agentId: uuid, workloadName }),
  { endsAfterSeconds: PREFLIGHT_ENDS_SECONDS },
);
export const preflightResult = defineResult(
  'replication.preflight',
  z.strictObject({ preflightId: uuid, report: preflightReport }),
);

/** Protect a workload at this site. Repeating it with other values changes the protection (mode, bandwidth, pause). */
export const protectOrder = defineOrder(
  'replication.protect',
  z.strictObject({
    workloadId: uuid,
    agentId: uuid,
    workloadName,
    role: siteRole,
    mode: protectionMode,
    epoch,
    names: replicationNames,
    /** The other site of the pair: where a regional copies from, and what a failover compares with. */
    peer: peerSite.nullable(),
    /** Whether the other standby exists yet; a regional seeds from the metro standby when it does. */
    bandwidthBytesPerSecond: z.number().int().positive().nullable(),
    paused: z.boolean(),
    /** A pause of this many seconds for a planned reboot of the agency's server: no alarms, nothing is torn down. */
    rebootUntil: z.iso.datetime().nullable(),
    /** Absent, in orders of before: as it is; a new front door is closed to everybody. */
    clientNetworks: clientNetworks.optional(),
  }),
);
export type ProtectPayload = z.infer<typeof protectOrder.payload>;
export const unprotectOrder = defineOrder('replication.unprotect', z.strictObject({ workloadId: uuid }));
/**
 * A person lets production go on without the synchronous site's acknowledgement. `seconds`: for how long it may, and with
 * `to: 'regional'` for how long the change to the regional site may still begin.
 */
export const degradeOrder = defineOrder(
  'replication.degrade',
  z.strictObject({
    workloadId: uuid,
    requestId: uuid,
    seconds: z.number().int().positive(),
    reason: text(2_000),
    /** Absent: 'alone'. */
    to: z.enum(['alone', 'regional']).optional(),
  }),
);
export const rearmOrder = defineOrder('replication.rearm', z.strictObject({ workloadId: uuid, requestId: uuid }));

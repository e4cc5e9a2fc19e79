import { z } from 'zod';
import { defineOrder, defineResult, lsn, peerSite, siteRole, uuid } from '#contracts/sites';
import {
  backupBeginRequest,
  backupEndRequest,
  backupFinish,
  backupFinishRequest,
  backupHashes,
  backupHashesRequest,
  backupManifestPage,
  backupManifestRequest,
  backupReadRequest,
  backupSession,
} from '#libs/platform/postgres/backup';

/** strict: no acknowledged write is ever lost, a line's outage stops writes. available: the agency may go on alone. */
export const protectionMode = z.enum(['strict', 'available']);
export type ProtectionMode = z.infer<typeof protectionMode>;

const identifier = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/);
/** A workload's name in the agent's own configuration. */
export const workloadName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,40}$/);
export const timeline = z.number().int().positive();
export const epoch = z.number().int().positive();

/** The unguessable names that a protection uses inside the agency's server. */
export const replicationNames = z.strictObject({
  /** application_name of the metro's walreceiver: listed first in synchronous_standby_names. */
  metroApplication: identifier,
  /** application_name of the degrade receiver: listed second. */
  lease: identifier,
  metroSlot: identifier,
  regionalSlot: identifier,
  metroRole: identifier,
  regionalRole: identifier,
  regionalApplication: identifier,
});
export type ReplicationNames = z.infer<typeof replicationNames>;

export const severity = z.enum(['blocker', 'warning', 'information']);
export const finding = z.strictObject({
  /** Stable, for example `server.version-unsupported`. */
  code: z.string(),
  severity,
  what: z.string(),
  /** What to do about it, one or two sentences or the command. */
  remedy: z.string(),
});
export type Finding = z.infer<typeof finding>;

/** What the agency's server says of itself; sites size their standbys by it. */
export const serverFacts = z.strictObject({
  version: z.string(),
  majorVersion: z.number().int(),
  systemIdentifier: z.string(),
  timeline,
  /** The cluster's bootstrap superuser, which a standby has too. */
  superuser: z.string(),
  /** Settings that a standby must not undercut, and others it needs, by name. */
  parameters: z.record(z.string(), z.string()),
  preloadLibraries: z.array(z.string()),
  extensions: z.array(z.strictObject({ database: z.string(), name: z.string(), version: z.string() })),
  collations: z.array(z.strictObject({ provider: z.string(), version: z.string() })),
  tablespaces: z.array(z.strictObject({ oid: z.number().int(), name: z.string(), location: z.string() })),
  /** Roles that log in and how clients authenticate (pg_hba_file_rules), to render the standby's own. */
  hbaRules: z.array(
    z.strictObject({
      type: z.string(),
      database: z.array(z.string()),
      user: z.array(z.string()),
      address: z.string().nullable(),
      method: z.string(),
    }),
  ),
  sizeBytes: z.number(),
  dataChecksums: z.boolean(),
  walLogHints: z.boolean(),
});
export type ServerFacts = z.infer<typeof serverFacts>;

export const preflightReport = z.strictObject({
  ok: z.boolean(),
  findings: z.array(finding),
  server: serverFacts.nullable(),
});
export type PreflightReport = z.infer<typeof preflightReport>;

// ---- Orders (control plane → site) -------------------------------------------------------------------------------

export const preflightOrder = defineOrder(
  'replication.preflight',
  z.strictObject({ preflightId: uuid, agentId: uuid, workloadName }),
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
  }),
);
export type ProtectPayload = z.infer<typeof protectOrder.payload>;
export const unprotectOrder = defineOrder('replication.unprotect', z.strictObject({ workloadId: uuid }));
/** A person lets production go on without the metro's acknowledgement, for so long. */
export const degradeOrder = defineOrder(
  'replication.degrade',
  z.strictObject({ workloadId: uuid, requestId: uuid, seconds: z.number().int().positive(), reason: z.string() }),
);
export const rearmOrder = defineOrder('replication.rearm', z.strictObject({ workloadId: uuid, requestId: uuid }));

// ---- States and health (site → control plane) --------------------------------------------------------------------

export const STANDBY_STATES = ['preparing', 'seeding', 'catching-up', 'streaming', 'broken', 'paused', 'promoting', 'primary', 'removing', 'removed'] as const;
export const standbyState = z.enum(STANDBY_STATES);
export type StandbyState = z.infer<typeof standbyState>;

export const alarm = z.strictObject({ code: z.string(), what: z.string(), remedy: z.string() });
export type Alarm = z.infer<typeof alarm>;

export const seedingProgress = z.strictObject({
  bytesTotal: z.number(),
  bytesDone: z.number(),
  bytesTransferred: z.number(),
  bytesPerSecond: z.number(),
  secondsLeft: z.number().nullable(),
  attempt: z.number().int(),
});

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
  armed: z.boolean().nullable(),
  armedSince: z.iso.datetime().nullable(),
  /** Until when this site may believe that production is armed. */
  armedUntil: z.iso.datetime().nullable(),
  /** Set while production runs without the metro's acknowledgement. */
  asynchronousSinceLsn: lsn.nullable(),
  seeding: seedingProgress.nullable(),
  alarms: z.array(alarm),
  frontDoor: z.strictObject({ host: z.string(), port: z.number().int(), leadsTo: z.enum(['production', 'standby', 'closed']) }).nullable(),
});
export type StandbyHealth = z.infer<typeof standbyHealth>;

/** A change of a standby's state, durable, for the history and for notices. */
export const standbyChanged = defineResult(
  'replication.standby-changed',
  z.strictObject({ workloadId: uuid, role: siteRole, state: standbyState, reason: z.string().nullable() }),
);
/** Armed, disarmed, degraded: each change of what an acknowledgement means. */
export const armingChanged = defineResult(
  'replication.arming-changed',
  z.strictObject({ workloadId: uuid, armed: z.boolean(), sinceLsn: lsn.nullable(), reason: z.string() }),
);
export const unprotectedResult = defineResult('replication.unprotected', z.strictObject({ workloadId: uuid, role: siteRole }));
/** Transactions that only the old primary has, found when it came back. */
export const divergenceFound = defineResult(
  'replication.divergence',
  z.strictObject({
    workloadId: uuid,
    epoch,
    forkedAtLsn: lsn,
    endLsn: lsn,
    transactions: z.array(z.strictObject({ xid: z.string(), committedAt: z.string().nullable(), lsn })),
    truncated: z.boolean(),
  }),
);
/** The returning old primary was stopped and made unable to write. */
export const oldPrimaryFenced = defineResult(
  'replication.old-primary-fenced',
  z.strictObject({ workloadId: uuid, epoch, at: z.iso.datetime(), evidence: z.string() }),
);

// ---- Agent commands (site → agent, through the tunnel, JSON both ways) --------------------------------------------

export const LEASE_SECONDS = 10;
/** Added by the agent to what it promises, for clocks whose rates differ. */
export const LEASE_MARGIN_SECONDS = 2;

export const pulseRequest = z.strictObject({
  workloads: z.array(
    z.strictObject({
      workloadId: uuid,
      name: workloadName,
      role: siteRole,
      mode: protectionMode,
      /** The newest epoch that the site knows. An agent whose server is of an older one fences it. */
      epoch,
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
      disarmed: z.strictObject({ requestId: uuid, leaseSeconds: z.number().int() }).nullable(),
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
  systemIdentifier: z.string().nullable(),
  wallClock: z.iso.datetime(),
  inRecovery: z.boolean().nullable(),
  armed: z.boolean(),
  armedSince: z.iso.datetime().nullable(),
  /** Why it is not armed, or null. */
  notArmedBecause: z.string().nullable(),
  /** The agent asks to go on without the metro (available mode, or a person's request at the agency). */
  disarmRequest: z.strictObject({ requestId: uuid, lsn, reason: z.string() }).nullable(),
  degraded: z.strictObject({ since: z.iso.datetime(), secondsLeft: z.number() }).nullable(),
  fenced: z.strictObject({ epoch, at: z.iso.datetime(), evidence: z.string() }).nullable(),
  divergence: divergenceFound.payload.nullable(),
  slots: z.array(
    z.strictObject({
      name: z.string(),
      active: z.boolean(),
      walStatus: z.string().nullable(),
      safeWalBytes: z.number().nullable(),
      retainedBytes: z.number().nullable(),
    }),
  ),
  alarms: z.array(alarm),
});
export type PulseWorkload = z.infer<typeof pulseWorkload>;
export const pulseAnswer = z.object({ instanceId: z.string(), workloads: z.array(pulseWorkload) });
export type PulseAnswer = z.infer<typeof pulseAnswer>;

export interface AgentCommand<I, O> {
  readonly path: string;
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
}
function defineCommand<I, O>(path: string, input: z.ZodType<I>, output: z.ZodType<O>): AgentCommand<I, O> {
  return Object.freeze({ path, input, output });
}

const done = z.object({ ok: z.literal(true) });

export const pulseCommand = defineCommand('/v1/pulse', pulseRequest, pulseAnswer);
export const preflightCommand = defineCommand(
  '/v1/preflight',
  z.strictObject({ workloadName, supportedMajors: z.array(z.number().int()), expectedNames: replicationNames.nullable() }),
  preflightReport,
);
/** Makes the site's replication role and slot at the agency. Repeating it gives the role a new password. */
export const prepareCommand = defineCommand(
  '/v1/prepare',
  z.strictObject({ workloadId: uuid, workloadName, role: siteRole, names: replicationNames, freshSlot: z.boolean() }),
  z.object({ user: z.string(), password: z.string(), server: serverFacts, slotRestartLsn: lsn.nullable() }),
);
/** Lists the metro (and the degrade receiver) in synchronous_standby_names; only once its standby streams. */
export const armCommand = defineCommand(
  '/v1/arm',
  z.strictObject({ workloadId: uuid, workloadName, names: replicationNames, mode: protectionMode }),
  done,
);
/** Takes the metro out of synchronous_standby_names, after the site has recorded it. */
export const disarmCommand = defineCommand(
  '/v1/disarm',
  z.strictObject({ workloadId: uuid, workloadName, names: replicationNames }),
  done,
);
/** A checkpoint, so that a base backup taken from the other site begins after the slot does. Answers its position. */
export const checkpointCommand = defineCommand(
  '/v1/checkpoint',
  z.strictObject({ workloadName }),
  z.object({ lsn }),
);
/** Drops this site's slot and role, and the settings with them when it is the metro. Nothing is left behind. */
export const releaseCommand = defineCommand(
  '/v1/release',
  z.strictObject({ workloadId: uuid, workloadName, role: siteRole, names: replicationNames }),
  done,
);
/** Stops the agency's server and makes it unable to write, because a site takes over as `epoch`. */
export const fenceCommand = defineCommand(
  '/v1/fence',
  z.strictObject({ workloadId: uuid, workloadName, epoch }),
  z.object({ stopped: z.boolean(), lsn: lsn.nullable(), evidence: z.string() }),
);

// ---- Seeding: a base backup in pieces, asked of the agent (lane `bulk`) or of the other site's standby --------------

const ofWorkload = <T>(request: z.ZodType<T>) => z.strictObject({ workloadId: uuid, workloadName, request });
const backupOver = (prefix: string) =>
  Object.freeze({
    begin: defineCommand(`${prefix}/begin`, ofWorkload(backupBeginRequest), backupSession),
    manifest: defineCommand(`${prefix}/manifest`, ofWorkload(backupManifestRequest), backupManifestPage),
    hashes: defineCommand(`${prefix}/hashes`, ofWorkload(backupHashesRequest), backupHashes),
    /** Answers bytes, framed as {@link backupReadRequest} says; `output` is for errors alone. */
    read: defineCommand(`${prefix}/read`, ofWorkload(backupReadRequest), z.unknown()),
    finish: defineCommand(`${prefix}/finish`, ofWorkload(backupFinishRequest), backupFinish),
    end: defineCommand(`${prefix}/end`, ofWorkload(backupEndRequest), done),
  });
/** What the agent serves of its own server. */
export const agentBackup = backupOver('/v1/backup');
/** What a site serves of its standby to the other site of the pair. */
export const peerBackup = backupOver('/v1/peer/backup');

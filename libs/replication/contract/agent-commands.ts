import { z } from 'zod';
import { lsn, siteRole, text, uuid } from '#contracts/sites';
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
import { pulseAnswer, pulseRequest } from './pulse.js';
import { epoch, preflightReport, protectionMode, replicationNames, serverFacts, workloadName } from './terms.js';

// Site → agent, through the tunnel, JSON both ways.

export interface AgentCommand<I, O> {
  readonly path: string;
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
  /** The longest answer, in bytes of JSON; the link's own limit ({@link ANSWER_BYTES_MAX}) when absent. */
  readonly answerBytes?: number;
}
function defineCommand<I, O>(
  path: string,
  input: z.ZodType<I>,
  output: z.ZodType<O>,
  answerBytes?: number,
): AgentCommand<I, O> {
  return Object.freeze({ path, input, output, ...(answerBytes === undefined ? {} : { answerBytes }) });
}
/** A page of a manifest holds 2,000 paths of up to 1,024 characters. */
const BACKUP_PAGE_BYTES = 8 * 2 ** 20;

/** The code with which {@link armCommand} is refused while the regional site is the synchronous one. */
export const REGIONAL_LEADS_CODE = 'replication.regional-leads';

const done = z.object({ ok: z.literal(true) });

export const pulseCommand = defineCommand('/v1/pulse', pulseRequest, pulseAnswer, 512 * 1_024);
export const preflightCommand = defineCommand(
  '/v1/preflight',
  z.strictObject({
    workloadName,
    supportedMajors: z.array(z.number().int()),
    expectedNames: replicationNames.nullable(),
  }),
  preflightReport,
);
/** Makes the site's replication role and slot at the agency. Repeating it gives the role a new password. */
export const prepareCommand = defineCommand(
  '/v1/prepare',
  z.strictObject({ workloadId: uuid, workloadName, role: siteRole, names: replicationNames, freshSlot: z.boolean() }),
  z.object({
    user: z.string().max(63),
    password: z.string().max(200),
    server: serverFacts,
    slotRestartLsn: lsn.nullable(),
  }),
);
/**
 * Lists the metro (and the degrade receiver) in synchronous_standby_names; only once its standby streams. Refused with
 * {@link REGIONAL_LEADS_CODE} while the regional site is listed: only the tunnel changes the one for the other.
 */
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
export const checkpointCommand = defineCommand('/v1/checkpoint', z.strictObject({ workloadName }), z.object({ lsn }));
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
  z.object({ stopped: z.boolean(), lsn: lsn.nullable(), evidence: text(2_000) }),
);

// Seeding: a base backup in pieces, asked of the agent (lane `bulk`) or of the other site's standby.

const ofWorkload = <T>(request: z.ZodType<T>) => z.strictObject({ workloadId: uuid, workloadName, request });
const backupOver = (prefix: string) =>
  Object.freeze({
    begin: defineCommand(`${prefix}/begin`, ofWorkload(backupBeginRequest), backupSession),
    manifest: defineCommand(
      `${prefix}/manifest`,
      ofWorkload(backupManifestRequest),
      backupManifestPage,
      BACKUP_PAGE_BYTES,
    ),
    hashes: defineCommand(`${prefix}/hashes`, ofWorkload(backupHashesRequest), backupHashes, BACKUP_PAGE_BYTES),
    /** Answers bytes, framed as {@link backupReadRequest} says; `output` is for errors alone. */
    read: defineCommand(`${prefix}/read`, ofWorkload(backupReadRequest), z.unknown()),
    finish: defineCommand(`${prefix}/finish`, ofWorkload(backupFinishRequest), backupFinish),
    end: defineCommand(`${prefix}/end`, ofWorkload(backupEndRequest), done),
  });
/** What the agent serves of its own server. */
export const agentBackup = backupOver('/v1/backup');
/** What a site serves of its standby to the other site of the pair. */
export const peerBackup = backupOver('/v1/peer/backup');

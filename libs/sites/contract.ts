import { z } from 'zod';
import { atMost, storable, text } from './contract/bounds.js';

export * from './contract/bounds.js';
export * from './contract/questions.js';

/** Which part a warm site plays for a workload. */
export const siteRole = z.enum(['metro', 'regional']);
export type SiteRole = z.infer<typeof siteRole>;

export const uuid = z.uuid();
/** A log position as PostgreSQL writes it, `16/B374D848`. */
export const lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);
/** SHA-256 of a certificate or key, 64 hexadecimal digits. */
export const fingerprint = z.string().regex(/^[0-9a-f]{64}$/);

/** How one site reaches another's gateway for one workload. */
export const peerSite = z.strictObject({
  siteId: uuid,
  host: z.string().max(255),
  port: z.number().int(),
  certificateFingerprint: fingerprint,
  /** The peer's Ed25519 key (SPKI, PEM), with which it signs its hello. */
  publicKey: z.string().max(1_000),
});
export type PeerSite = z.infer<typeof peerSite>;

/**
 * An order of the control plane to a site: signed, numbered, carried out once. `signature` is Ed25519 over the
 * canonical JSON of all other fields.
 */
export const order = z.strictObject({
  id: uuid,
  siteId: uuid,
  /** Rises with each order to this site; gaps mean nothing. */
  number: z.number().int().positive(),
  /** See {@link OrderContract}: each kind's payload has its own schema. */
  kind: z.string().max(60),
  tenantId: uuid.nullable(),
  issuedAt: z.iso.datetime(),
  payload: z.record(z.string(), z.unknown()),
  signature: z.string().max(1_000),
});
export type Order = z.infer<typeof order>;

/** An order's kind and payload; the domain that carries it out defines it in its contract. */
export interface OrderContract<P = unknown> {
  readonly kind: string;
  readonly payload: z.ZodType<P>;
  /** It waits for nothing and nobody: people and sites steer failovers by such orders. */
  readonly urgent?: boolean;
  /** Not tried again so many seconds after its receipt: who asked has asked anew by then. For ever when absent. */
  readonly endsAfterSeconds?: number;
}
export function defineOrder<P>(
  kind: string,
  payload: z.ZodType<P>,
  ways: { readonly urgent?: boolean; readonly endsAfterSeconds?: number } = {},
): OrderContract<P> {
  return Object.freeze({ kind, payload, ...ways });
}

/** The longest payload of one result, in bytes of JSON. */
export const RESULT_BYTES_MAX = 1_000_000;
/** What the results of one page of the outbox add up to at most, in bytes; a single one is always told. */
export const PAGE_BYTES_MAX = 8_000_000;
/** What the workloads of one snapshot add up to at most, in characters of JSON. */
export const SNAPSHOT_CHARACTERS_MAX = 6_000_000;

/** What a site tells the control plane: durable, in the order of `seq`, at least once. */
export const siteResult = z.strictObject({
  seq: z.number().int().positive(),
  id: uuid,
  kind: text(60),
  orderId: uuid.nullable(),
  tenantId: uuid.nullable(),
  /** Without what `jsonb` refuses: a result that cannot be stored would be in the way of all that come after it. */
  payload: z.record(z.string(), z.unknown()).overwrite(storable),
  at: z.iso.datetime(),
});
export type SiteResult = z.infer<typeof siteResult>;

export interface ResultContract<P = unknown> {
  readonly kind: string;
  readonly payload: z.ZodType<P>;
}
export function defineResult<P>(kind: string, payload: z.ZodType<P>): ResultContract<P> {
  return Object.freeze({ kind, payload });
}

/** An order that could not be carried out, ever: the site will not try it again by itself. */
export const orderFailed = defineResult(
  'order.failed',
  z.strictObject({ kind: text(60), code: text(100), message: text(2_000) }),
);

export const admitAgentOrder = defineOrder(
  'agent.admit',
  z.strictObject({ agentId: uuid, publicKey: z.string().max(1_000), name: text(255) }),
);
export const revokeAgentOrder = defineOrder('agent.revoke', z.strictObject({ agentId: uuid }));

/** Sent when an agent's link comes or goes, and when a second process shows its identity. */
export const agentLinkResult = defineResult(
  'agent.link',
  z.strictObject({
    agentId: uuid,
    state: z.enum(['connected', 'disconnected', 'duplicate']),
    version: text(40).nullable(),
    roundTripMilliseconds: z.number().nullable(),
  }),
);

/** A site's own state, a snapshot with every look into its outbox: not durable, the newest counts. */
export const siteSnapshot = z.strictObject({
  siteId: uuid,
  at: z.iso.datetime(),
  capacity: z.strictObject({
    cpus: z.number(),
    memoryBytes: z.number(),
    diskBytes: z.number(),
    diskFreeBytes: z.number(),
  }),
  agents: atMost(
    z.strictObject({
      agentId: uuid,
      connectedSince: z.iso.datetime(),
      lanes: z.array(z.enum(['sync', 'bulk'])),
      roundTripMilliseconds: z.number().nullable(),
    }),
    20_000,
  ),
  /** Replication health by workload; its schema is replication's contract. */
  workloads: atMost(z.record(z.string(), z.unknown()).overwrite(storable), 20_000),
});
export type SiteSnapshot = z.infer<typeof siteSnapshot>;

/** `GET /v1/outbox?after=SEQ&wait=SECONDS`: waits until there is a result after SEQ, or the time is up. */
export const outboxPage = z.strictObject({ results: z.array(siteResult).max(1_000), snapshot: siteSnapshot });
export type OutboxPage = z.infer<typeof outboxPage>;

/** An agent's enrolment, `POST /v1/agents/enrol`: the token counts once; the private key never leaves the agency. */
export const enrolRequest = z.strictObject({
  token: z.string().min(20).max(200),
  /** Ed25519, SPKI, PEM. */
  publicKey: z.string().max(400),
  hostname: z.string().max(255),
  version: z.string().max(40),
});
export type EnrolRequest = z.infer<typeof enrolRequest>;

export const agentSite = z.object({
  siteId: uuid,
  name: z.string(),
  host: z.string(),
  port: z.number().int(),
  certificateFingerprint: fingerprint,
});
export type AgentSite = z.infer<typeof agentSite>;
/** Who may ask what of an agent about one of its workloads. */
export const assignedWorkload = z.object({
  workloadId: uuid,
  /** As in the agent's own configuration. */
  name: z.string(),
  /** The names of its protection inside the agency's server, by what they are for (replication's contract). */
  names: z.record(z.string(), z.string()),
  legs: z.array(z.object({ siteId: uuid, role: siteRole })),
});
export type AssignedWorkload = z.infer<typeof assignedWorkload>;

/**
 * Where an agent dials to, and what it does for whom; it asks anew from time to time, and when a site asks for what is
 * not in it (`GET /v1/agents/self`, signed with its key).
 */
export const agentAssignment = z.object({
  agentId: uuid,
  tenantId: uuid,
  agencyName: z.string(),
  sites: z.array(agentSite),
  /**
   * Of the sites that it dials, only these may ask something about these workloads, each as what it is. Absent in what an
   * earlier control plane says, or an earlier agent has saved: not known.
   */
  workloads: z.array(assignedWorkload).optional(),
  /** Sites that may look, now, whether a workload can be replicated. Absent with the former. */
  preflights: z.array(z.object({ siteId: uuid, workloadName: z.string() })).optional(),
  /**
   * Sites that archive a workload of this agent: they may have its archive's work done, and nothing else. To an archive that
   * is `customer-held` no site brings a password (archive's contract). Without a key mode, as an earlier control plane says
   * it, only the password that the agent holds already tells.
   */
  archives: z
    .array(
      z.object({
        siteId: uuid,
        workloadId: uuid,
        name: z.string(),
        keyMode: z.enum(['escrowed', 'customer-held']).optional(),
      }),
    )
    .optional(),
  /**
   * The same for the change of the synchronous site; apart, so that an agent that does not know it does not take it for a
   * grant to go on alone.
   */
  moveGrants: z
    .array(
      z.object({
        workloadId: uuid,
        requestId: uuid,
        epoch: z.number().int(),
        secondsLeft: z.number(),
        to: siteRole,
      }),
    )
    .optional(),
  /**
   * A person's grants to go on without the metro, for an agent that cannot reach it: good only once the agent's own
   * promise to the metro has run out. Counted in seconds left, so that clocks need not agree.
   */
  degradeGrants: z
    .array(z.object({ workloadId: uuid, requestId: uuid, epoch: z.number().int(), secondsLeft: z.number() }))
    .optional(),
});
export type AgentAssignment = z.infer<typeof agentAssignment>;

/**
 * `POST /v1/agents/challenge`: a challenge of the control plane, good for as long as it says by the control plane's own
 * clock, so that an agent whose clock is off by an hour can still prove who it is.
 */
export const agentChallenge = z.object({ challenge: z.string(), expiresInSeconds: z.number().int() });
export type AgentChallenge = z.infer<typeof agentChallenge>;

/** What an agent signs (`signDocument`, its enrolment key) to answer a challenge; `path` is the one it then asks for. */
export const agentProof = (agentId: string, challenge: string, path: string) => ({
  purpose: 'mainstay-agent-api',
  agentId,
  challenge,
  path,
});

/** The header that carries the proof: `authorization: Mainstay-Agent <agentId>:<challenge>:<signature>`. */
export const AGENT_AUTHORIZATION_SCHEME = 'Mainstay-Agent';

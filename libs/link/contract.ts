import { z } from 'zod';
import { cutText } from './cut-text.js';

/** The ALPN name of the protocol: a gateway speaks nothing else. */
export const LINK_PROTOCOL = 'mainstay-link/1';
export const PROTOCOL_VERSION = 1;
/** Hello and welcome are JSON behind their length (4 bytes, big-endian), at most this long. */
export const MAXIMUM_HELLO_BYTES = 8 * 1024;
/** The TLS exporter's label (RFC 5705); a hello's signature covers 32 bytes of it, so it is good on its connection only. */
export const EXPORTER_LABEL = 'EXPORTER-mainstay-link';

/** sync: synchronous replication and the pulse. bulk: all that moves many bytes, kept off the former's connection. */
export const lane = z.enum(['sync', 'bulk']);
export type Lane = z.infer<typeof lane>;

const common = {
  protocol: z.number().int(),
  /** Of the dialling software. */
  version: z.string().max(40),
  /** Made anew by each process: two processes that show one identity can be told apart. */
  instanceId: z.uuid(),
  nonce: z.string().min(16).max(64),
};
const signature = z.string().max(200);

/** An agent's link, one per lane and site: after the welcome the agent is an HTTP/2 server on it. */
const agentFields = { kind: z.literal('agent'), agentId: z.uuid(), lane, ...common };
/** One connection to a workload, dialled by the agent because the gateway asked for it with a ticket. */
const agentStreamFields = {
  kind: z.literal('agent-stream'),
  agentId: z.uuid(),
  ticket: z.string().max(100),
  ...common,
};
/** Another site's link: after the welcome the gateway is an HTTP/2 server on it. */
const siteFields = { kind: z.literal('site'), siteId: z.uuid(), ...common };
/** One connection to this site's standby of a workload, dialled by another site that has a link. */
const siteStreamFields = { kind: z.literal('site-stream'), siteId: z.uuid(), workloadId: z.uuid(), ...common };

export const agentHello = z.strictObject({ ...agentFields, signature });
export const agentStreamHello = z.strictObject({ ...agentStreamFields, signature });
export const siteHello = z.strictObject({ ...siteFields, signature });
export const siteStreamHello = z.strictObject({ ...siteStreamFields, signature });
export const hello = z.discriminatedUnion('kind', [agentHello, agentStreamHello, siteHello, siteStreamHello]);
export const unsignedHello = z.discriminatedUnion('kind', [
  z.strictObject(agentFields),
  z.strictObject(agentStreamFields),
  z.strictObject(siteFields),
  z.strictObject(siteStreamFields),
]);

export type AgentHello = z.infer<typeof agentHello>;
export type AgentStreamHello = z.infer<typeof agentStreamHello>;
export type SiteHello = z.infer<typeof siteHello>;
export type SiteStreamHello = z.infer<typeof siteStreamHello>;
export type Hello = z.infer<typeof hello>;
export type UnsignedHello = z.infer<typeof unsignedHello>;

export const refusalCode = z.enum([
  'malformed',
  'unsupported-version',
  'unknown',
  'revoked',
  'bad-signature',
  /** Another process of the same identity holds the lane and is alive. */
  'duplicate',
  'workload-refused',
  'workload-unreachable',
  'busy',
  'unavailable',
]);
export type RefusalCode = z.infer<typeof refusalCode>;

export const welcome = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true) }),
  z.object({ ok: z.literal(false), code: refusalCode, message: z.string().max(400) }),
]);
export type Welcome = z.infer<typeof welcome>;

/** Why an established link was closed; travels in the GOAWAY frame's opaque data. */
export const CLOSE_REASONS = ['revoked', 'replaced', 'silent', 'shutdown', 'lost'] as const;
export const closeReason = z.enum(CLOSE_REASONS);
export type CloseReason = z.infer<typeof closeReason>;

/** The gateway asks the agent for a connection to a workload. */
export const STREAM_PATH = '/.link/stream';
export const streamRequest = z.strictObject({ ticket: z.string().max(100), workload: z.string().max(100) });

/** The body of every answer that is not a success. */
export const failure = z.object({ kind: cutText(40), code: cutText(100), message: cutText(2_000) });

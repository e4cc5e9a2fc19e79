import { z } from 'zod';
import { atMost, text } from '#contracts/sites';

export const protectionMode = z.enum(['strict', 'available']);
export type ProtectionMode = z.infer<typeof protectionMode>;

/** An SQL identifier that needs no quotes. */
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
  code: text(100),
  severity,
  what: text(2_000),
  /** What to do about it, one or two sentences or the command. */
  remedy: text(2_000),
});
export type Finding = z.infer<typeof finding>;

/** What the agency's server says of itself; sites size their standbys by it. */
export const serverFacts = z.strictObject({
  version: text(200),
  majorVersion: z.number().int(),
  systemIdentifier: z.string().max(20),
  timeline,
  /** The cluster's bootstrap superuser, which a standby has too. */
  superuser: z.string().max(63),
  /** Settings that a standby must not undercut, and others it needs, by name. */
  parameters: z
    .record(z.string().max(100), z.string().max(8_000))
    .refine((said) => Object.keys(said).length <= 500, 'more than 500 parameters'),
  preloadLibraries: z.array(z.string().max(1_000)).max(100),
  extensions: atMost(z.strictObject({ database: text(63), name: text(63), version: text(100) }), 2_000),
  collations: atMost(z.strictObject({ provider: text(20), version: text(100) }), 2_000),
  tablespaces: z
    .array(z.strictObject({ oid: z.number().int(), name: z.string().max(63), location: z.string().max(1_024) }))
    .max(256),
  /** Roles that log in and how clients authenticate (pg_hba_file_rules), to render the standby's own. */
  hbaRules: atMost(
    z.strictObject({
      type: z.string().max(20),
      database: z.array(z.string().max(200)).max(1_000),
      user: z.array(z.string().max(200)).max(1_000),
      address: z.string().max(255).nullable(),
      method: z.string().max(40),
    }),
    // The first rule that matches counts, and none means no: what is cut off lets nobody in.
    2_000,
  ),
  sizeBytes: z.number(),
  dataChecksums: z.boolean(),
  walLogHints: z.boolean(),
});
export type ServerFacts = z.infer<typeof serverFacts>;

export const preflightReport = z.strictObject({
  ok: z.boolean(),
  findings: atMost(finding, 200),
  server: serverFacts.nullable(),
});
export type PreflightReport = z.infer<typeof preflightReport>;

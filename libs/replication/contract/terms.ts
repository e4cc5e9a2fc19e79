import { z } from 'zod';

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

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

const MOST_RULES = 2_000;
const MOST_NAMES = 1_000;
/** Of a database and a user, in all rules: a site's pg_hba.conf has a line for each. */
const MOST_PAIRS = 20_000;
const LONGEST_NAME = 200;
const LONGEST_ADDRESS = 255;
const hbaRule = z.strictObject({
  type: z.string(),
  database: z.array(z.string()),
  user: z.array(z.string()),
  address: z.string().nullable(),
  method: z.string(),
});
type HbaRule = z.infer<typeof hbaRule>;

/** What the agency's server says of itself, before its rules are bounded. */
const saidFacts = z.strictObject({
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
  hbaRules: z.array(hbaRule),
  sizeBytes: z.number(),
  dataChecksums: z.boolean(),
  walLogHints: z.boolean(),
});
export type ServerFacts = z.infer<typeof saidFacts>;
/** What the agency's server says of itself; sites size their standbys by it. */
export const serverFacts = saidFacts.overwrite(withinBounds);

const MOST_FINDINGS = 200;
export const preflightReport = z
  .strictObject({
    ok: z.boolean(),
    findings: atMost(finding, MOST_FINDINGS),
    server: saidFacts.nullable(),
  })
  .overwrite((report) => {
    if (!report.server || staysBehind(report.server.hbaRules) === 0) return report;
    const findings = [rulesLeftOut(staysBehind(report.server.hbaRules)), ...report.findings];
    return { ...report, findings: findings.slice(0, MOST_FINDINGS), server: withinBounds(report.server) };
  });
export type PreflightReport = z.infer<typeof preflightReport>;

const namesFit = (names: readonly string[]): boolean =>
  names.length <= MOST_NAMES && names.every((name) => name.length <= LONGEST_NAME);
const fits = ({ type, database, user, address, method }: HbaRule): boolean =>
  namesFit(database) &&
  namesFit(user) &&
  database.length * user.length <= MOST_PAIRS &&
  type.length <= 20 &&
  (address?.length ?? 0) <= LONGEST_ADDRESS &&
  method.length <= 40;

/** The first ones, as far as a site has room for them. */
function firstOnes(rules: readonly HbaRule[]): readonly HbaRule[] {
  let pairs = 0;
  const past = rules.findIndex((rule, index) => {
    pairs += fits(rule) ? rule.database.length * rule.user.length : 1;
    return index >= MOST_RULES || pairs > MOST_PAIRS;
  });
  return past === -1 ? rules : rules.slice(0, past);
}

/** How many rules do not reach the sites as they are. */
const staysBehind = (rules: readonly HbaRule[]): number => rules.length - firstOnes(rules).filter(fits).length;

/**
 * The first rule that matches counts, and none means no: what is left out or cut off lets nobody in. So one that refuses
 * is made to refuse everybody instead.
 */
function withinBounds(facts: z.infer<typeof saidFacts>): z.infer<typeof saidFacts> {
  const rules = firstOnes(facts.hbaRules).flatMap((rule) => {
    if (fits(rule)) return [rule];
    const { type, address, method } = rule;
    const unsaid = (address?.length ?? 0) > LONGEST_ADDRESS;
    const widened = { type, database: ['all'], user: ['all'], address: unsaid ? 'all' : address, method };
    return method === 'reject' && fits(widened) ? [widened] : [];
  });
  return { ...facts, hbaRules: rules };
}

function rulesLeftOut(count: number): Finding {
  return {
    code: 'server.hba-rules-left-out',
    severity: 'warning',
    what: `${count} rules of pg_hba.conf are too long or too many for the warm sites and stay behind: whom they let in cannot sign in there, and where one refuses somebody, nobody who comes after it can.`,
    remedy: `Split rules that name more than ${MOST_NAMES} users or databases, or a name of more than ${LONGEST_NAME} characters, and keep to ${MOST_RULES} rules, and to ${MOST_PAIRS} pairs of a database and a user in all of them.`,
  };
}

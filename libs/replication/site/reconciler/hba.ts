import {
  hbaNameFollows,
  hbaRefusalHolds,
  type PreflightReport,
  type ReplicationNames,
  type ServerFacts,
} from '#contracts/replication';
import type { HbaRule } from '#libs/platform/postgres';

type SourceRule = ServerFacts['hbaRules'][number];

const LOOPBACK = '127.0.0.1/32';
/** With TLS or without, as at the agency. A site has no Kerberos: what asks for its encryption is for nobody there. */
const TYPES: Readonly<Record<string, HbaRule['type']>> = {
  host: 'host',
  hostssl: 'hostssl',
  hostnossl: 'hostnossl',
  hostnogssenc: 'host',
};
/** What a site can check by itself. LDAP, GSS, peer and certificates need what only the agency has. */
const PASSWORD_METHODS = new Set(['md5', 'password', 'trust']);

/**
 * The agency's rules, as far as they can hold at a warm site, where clients come through the front door and so from the
 * loopback address: ranges become the loopback address, whoever the agency let in by `trust` needs a password, and all
 * methods but SCRAM become `md5`, which checks both kinds of stored hashes. Whom a rule cannot name here, it does not let
 * in; one that refuses refuses everybody instead, or a wider rule after it would let in whom it means.
 *
 * The other site's walreceiver signs in as its own replication role.
 */
export function renderedRules(rules: readonly SourceRule[], names: ReplicationNames): HbaRule[] {
  const rendered: HbaRule[] = [names.metroRole, names.regionalRole].map((user) => ({
    type: 'host',
    database: 'replication',
    user,
    address: LOOPBACK,
    method: 'scram-sha-256',
  }));
  const seen = new Set<string>();
  for (const rule of rules) {
    const type = TYPES[rule.type];
    const method = methodFor(rule);
    if (!type || !method) continue;
    for (const database of namesOf(rule.database, method)) {
      for (const user of namesOf(rule.user, method)) {
        const whom = `${database}\0${user}`;
        // The first rule that fits decides, in PostgreSQL and here.
        if (seen.has(`host\0${whom}`) || seen.has(`${type}\0${whom}`)) continue;
        seen.add(`${type}\0${whom}`);
        rendered.push({ type, database, user, address: LOOPBACK, method });
      }
    }
  }
  return rendered;
}

/**
 * What may take the place of the rules that a standby has. Undefined for rules that were read only in part, or that let
 * nobody in, as those of a server that is fenced: they say nothing of who may sign in here.
 */
export function rulesToAdmit({ findings, server }: PreflightReport, names: ReplicationNames): HbaRule[] | undefined {
  if (!server || findings.some(({ code }) => code === 'hba.faulty')) return undefined;
  const rules = renderedRules(server.hbaRules, names);
  return letsClientsIn(rules) ? rules : undefined;
}

/** Whether anybody but the sites themselves gets in by these. */
function letsClientsIn(rules: readonly HbaRule[]): boolean {
  return rules.some(({ database, method }) => database !== 'replication' && method !== 'reject');
}

/** Those that can be written here; with `all` where a rule that refuses names others, too. */
function namesOf(names: readonly string[], method: HbaRule['method']): string[] {
  const following = names.filter(hbaNameFollows);
  return method === 'reject' && following.length < names.length ? [...following, 'all'] : following;
}

function methodFor(rule: SourceRule): HbaRule['method'] | undefined {
  if (rule.method === 'reject') return hbaRefusalHolds(rule.address) ? 'reject' : undefined;
  if (rule.method === 'scram-sha-256') return 'scram-sha-256';
  return PASSWORD_METHODS.has(rule.method) ? 'md5' : undefined;
}

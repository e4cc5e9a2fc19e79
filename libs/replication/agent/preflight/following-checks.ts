import { hbaNameFollows, hbaRefusalWidens, type Finding } from '#contracts/replication';
import { withPrefix } from '../server-facts.js';
import { blocker, information, listed, warning } from './finding.js';
import { valueOf, type HbaLine, type ServerLook } from './server-look.js';

/** What a site can check by itself: the hashes of passwords come with the copy. */
const FOLLOWS = new Set(['scram-sha-256', 'md5', 'password', 'trust', 'reject']);

/** Databases that are not known by their names. */
const WHOEVER = new Set(['all', 'sameuser', 'samerole']);

/** What each of the other methods needs, that only the agency's network or machine has. */
const NEEDS: Readonly<Record<string, string>> = {
  ldap: "the agency's directory",
  radius: "the agency's RADIUS server",
  gss: "the agency's Kerberos",
  hostgssenc: "the agency's Kerberos",
  sspi: "the agency's Windows domain",
  pam: "this machine's PAM",
  bsd: "this machine's users",
  cert: "the agency's certificates",
  ident: "the clients' machines",
};

/**
 * Who gets in here, and will not at a site after a failover: the site renders the rules anew, for clients that come
 * through its front door. It works, so these are warnings; but to find out during a flood would be too late. Where nobody
 * at all might get in, it is a blocker.
 */
export function checkFollowing(look: ServerLook): Finding[] {
  const lines = (look.hbaLines ?? []).filter(({ error, database }) => error === null && !isReplication(database));
  return [
    ...checkRefusals(lines),
    ...checkMethods(lines),
    ...checkNames(lines),
    ...checkLocal(lines),
    ...checkTls(look, lines),
  ];
}

/** What a site cannot say of whom a line refuses, it says of everybody: nobody may get in there who is refused here. */
function checkRefusals(lines: readonly HbaLine[]): Finding[] {
  const network = lines.filter(({ type }) => type !== 'local');
  return network.flatMap((refusal, index) => {
    if (refusal.method !== 'reject') return [];
    const unsaid = hbaRefusalWidens({ ...refusal, address: withPrefix(refusal.address, refusal.netmask) });
    const shut = network.slice(index + 1).filter((line) => mayFollow(line) && meets(line, refusal));
    if (unsaid === undefined || shut.length === 0) return [];
    return [
      blocker(
        'hba.refusal-widens',
        `A site cannot tell whom pg_hba.conf refuses in line ${refusal.line} (${unsaid}), and so whoever gets in here by line ${listed(shut.map(({ line }) => String(line)))} is refused there after a failover.`,
        `Name the roles and databases themselves in line ${refusal.line}, and addresses instead of names of machines (leave those out of clientNetworks); or put the line below those whom it does not mean.`,
      ),
    ];
  });
}

const mayFollow = ({ method }: HbaLine): boolean => method !== 'reject' && FOLLOWS.has(method);

/** Whether the refusal, as a site would write it, could be about somebody whom the line lets in there. */
function meets(line: HbaLine, refusal: HbaLine): boolean {
  const wide = (name: string): boolean => WHOEVER.has(name) || !hbaNameFollows(name);
  const common = (letIn: readonly string[], refused: readonly string[]): boolean =>
    letIn.filter(hbaNameFollows).some((name) => WHOEVER.has(name) || refused.some(wide) || refused.includes(name));
  return common(line.database, refusal.database) && common(line.user, refusal.user);
}

function checkMethods(lines: readonly HbaLine[]): Finding[] {
  const stay = lines
    .filter(
      ({ type, method }) => type !== 'local' && (type === 'hostgssenc' ? method !== 'reject' : !FOLLOWS.has(method)),
    )
    .map(({ line, type, method }) => ({ line, method: type === 'hostgssenc' ? type : method }));
  if (stay.length === 0) return [];
  const said = stay.map(
    ({ line, method }) => `line ${line} (${method}, needs ${NEEDS[method] ?? 'what only this machine has'})`,
  );
  return [
    warning(
      'hba.method-stays',
      `These lines of pg_hba.conf cannot hold at a site: ${listed(said)}. Who signs in by them gets in nowhere after a failover.`,
      'Give those roles passwords (ALTER ROLE … PASSWORD …) and add a scram-sha-256 line that names them, below the present one: it holds at the sites, and the present one goes on here.',
    ),
  ];
}

/** Groups, patterns and lists in files mean nothing to the rules as a site writes them. */
function checkNames(lines: readonly HbaLine[]): Finding[] {
  const names = lines
    .filter(({ type, method }) => type !== 'local' && method !== 'reject')
    .flatMap(({ line, user, database }) =>
      [...user, ...database].filter((name) => !hbaNameFollows(name)).map((name) => `${name} in line ${line}`),
    );
  if (names.length === 0) return [];
  return [
    warning(
      'hba.names-stay',
      `pg_hba.conf names groups, patterns or files, which a site leaves out: ${listed(names)}. Whoever gets in only by them gets in nowhere after a failover.`,
      'Add lines that name the roles and databases themselves, or "all".',
    ),
  ];
}

/** Programs on the server's own machine, which is gone. */
function checkLocal(lines: readonly HbaLine[]): Finding[] {
  const local = lines.filter(({ type, method }) => type === 'local' && method !== 'reject');
  if (local.length === 0) return [];
  return [
    information(
      'hba.socket-stays',
      `Programs on this machine sign in by its Unix socket (pg_hba.conf, line ${listed(local.map(({ line }) => String(line)))}); a site has no such socket for them.`,
      'Those that must go on after a failover: let them connect by TCP, with a password and both addresses.',
    ),
  ];
}

/** The site's server shows a certificate of its own: whoever checks it must know what signed it, before the day. */
function checkTls(look: ServerLook, lines: readonly HbaLine[]): Finding[] {
  if (valueOf(look, 'ssl') !== 'on') return [];
  const only = lines.filter(({ type }) => type === 'hostssl').map(({ line }) => String(line));
  const asked = only.length === 0 ? '' : ` (pg_hba.conf asks for it in line ${listed(only)})`;
  return [
    warning(
      'tls.stays',
      `Clients can use TLS with this server's certificate${asked}. It stays here: a site's server shows a certificate of its own after a failover, of its front door's name. Clients with sslmode=require or less connect there; those with verify-ca or verify-full, or with a sslrootcert, do not until they trust the site's authority, too.`,
      'For clients that check certificates, add the rootCertificates in "connection" of the workload (GET /v1/workloads/…) to their sslrootcert, beside the present content. Both sites have made theirs once their standbys are there.',
    ),
  ];
}

const isReplication = (databases: readonly string[]): boolean => databases.every((name) => name === 'replication');

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import type { Finding, ReplicationNames } from '#contracts/replication';
import { errorText } from '#libs/platform/errors';
import { withClient } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { signIn } from '../connection.js';
import { withPrefix } from '../server-facts.js';
import { blocker, warning } from './finding.js';
import { valueOf, type HbaLine, type ServerLook } from './server-look.js';

/** Methods by which a role of ours with a SCRAM password gets in. */
const PASSES = new Set(['scram-sha-256', 'password', 'md5', 'trust']);

/** Methods that ask a client by TCP for nothing that it alone knows. */
const ASKS_NOTHING = new Set(['trust', 'ident']);

/** Does pg_hba.conf let the sites' roles in for replication, by TCP from this machine? */
export function checkAccess(look: ServerLook, workload: PostgresWorkload, names: ReplicationNames | null): Finding[] {
  const { hbaLines } = look;
  if (hbaLines === null) return [];
  const findings: Finding[] = hbaLines
    .filter(({ error }) => error !== null)
    .map(({ line, error }) =>
      warning(
        'hba.faulty',
        `pg_hba.conf, line ${line}: ${error}. The line and nothing that comes after it can be taken to hold at the sites.`,
        'Mend the line. Until then the server keeps the old rules, and does not start again if it stops.',
      ),
    );
  const address = loopback(workload.host);
  const line = `host replication all ${address}/${isIPv6(address) ? 128 : 32} scram-sha-256`;
  const roles = names ? [names.metroRole, names.regionalRole] : ['mainstay_role_to_be_made'];
  for (const role of roles) {
    const match = hbaLines.find((each) => matches(each, look, role, address));
    if (match && PASSES.has(match.method)) continue;
    const why = match
      ? `line ${match.line} of pg_hba.conf refuses it (${match.method})`
      : 'no line of pg_hba.conf is about it';
    findings.push(
      blocker(
        'hba.no-replication',
        `The server would not let a site in for replication from ${address}: ${why}.`,
        `Add this line to pg_hba.conf${match ? `, above line ${match.line}` : ''}, and reload: ${line}`,
      ),
    );
    break;
  }
  findings.push(...checkOpenDoor(hbaLines, look, workload, names));
  if (!(valueOf(look, 'listen_addresses') ?? '').trim()) {
    findings.push(
      blocker(
        'server.no-tcp',
        'The server listens on no TCP address (listen_addresses is empty), by which the agent passes the sites on.',
        "ALTER SYSTEM SET listen_addresses = 'localhost'; and restart. Nothing outside this machine can reach that.",
      ),
    );
  }
  return findings;
}

/**
 * The clients of a site's front door come out of the tunnel at this machine: for pg_hba.conf they are local. A line that
 * asks local clients for nothing would let the whole network in as whoever it says it is.
 */
function checkOpenDoor(
  lines: readonly HbaLine[],
  look: ServerLook,
  workload: PostgresWorkload,
  names: ReplicationNames | null,
): Finding[] {
  const { host } = workload;
  const addresses = isIPv4(host) || isIPv6(host) ? [host] : ['127.0.0.1', '::1'];
  const ours = new Set(names ? [names.metroRole, names.regionalRole] : []);
  const open = lines.find(
    (rule, index) =>
      ASKS_NOTHING.has(rule.method) &&
      isUsable(rule, look) &&
      !rule.user.every((user) => ours.has(user)) &&
      addresses.some(
        (address) => covers(rule, address) && !lines.slice(0, index).some((each) => hides(each, rule, address)),
      ),
  );
  if (!open) return [];
  return [
    blocker(
      'hba.no-password',
      `Line ${open.line} of pg_hba.conf lets clients from this machine in without a password (${open.method}). To the server, everybody who comes through a site's front door is such a client.`,
      `Give the roles passwords, change the method of line ${open.line} to scram-sha-256, and reload. Programs on this machine that have none can use the Unix socket ("local", peer).`,
    ),
  ];
}

/** By a connection that chooses itself whether it is encrypted. */
function isUsable(rule: HbaLine, look: ServerLook): boolean {
  if (rule.error !== null || rule.type === 'local' || rule.type.endsWith('gssenc')) return false;
  return rule.type !== 'hostssl' || valueOf(look, 'ssl') === 'on';
}

/** Whether an earlier line decides all that the later one could. `all` databases do not include replication. */
function hides(earlier: HbaLine, later: HbaLine, address: string): boolean {
  if (earlier.error !== null || (earlier.type !== 'host' && earlier.type !== later.type)) return false;
  const databases = later.database.every((name) =>
    name === 'replication' ? earlier.database.includes(name) : earlier.database.includes('all'),
  );
  return databases && earlier.user.includes('all') && covers(earlier, address);
}

/**
 * May the agent itself stream, as its degrade receiver has to? Tried out: pg_hba.conf has a line of its own for that, and
 * to find out when the metro is away would be too late.
 */
export async function tryReceiver(workload: PostgresWorkload): Promise<Finding[]> {
  try {
    const options = { ...(await signIn(workload)), replication: 'true' } as const;
    await withClient(options, (client) => client.query('IDENTIFY_SYSTEM'));
    return [];
  } catch (error) {
    const socket = workload.socketDirectory !== undefined;
    const line = socket
      ? `local replication ${workload.user} peer (with the map= of the line by which the agent signs in, if that has one)`
      : `host replication ${workload.user} ${loopback(workload.host)}/${isIPv6(workload.host) ? 128 : 32} scram-sha-256`;
    return [
      blocker(
        'hba.no-receiver',
        `The server does not let the agent stream from it (${errorText(error)}): production could not go on while the metro site is away.`,
        `Add this line to pg_hba.conf, above any that refuses it, and reload: ${line}`,
      ),
    ];
  }
}

function loopback(host: string): string {
  if (isIPv4(host) || isIPv6(host)) return host;
  return '127.0.0.1';
}

/** The first line that fits decides (PostgreSQL's docs, "The pg_hba.conf File"). */
function matches(rule: HbaLine, look: ServerLook, role: string, address: string): boolean {
  if (rule.error !== null || !rule.database.includes('replication')) return false;
  if (rule.type === 'local') return false;
  if (rule.type === 'hostssl' && valueOf(look, 'ssl') !== 'on') return false;
  if (rule.type === 'hostnossl' && valueOf(look, 'ssl') === 'on') return false;
  return rule.user.some((user) => user === 'all' || user === role) && covers(rule, address);
}

/** Whether a line is about clients of this address. */
export function covers(rule: HbaLine, address: string): boolean {
  if (rule.address === null) return false;
  if (['all', 'samehost', 'samenet'].includes(rule.address)) return true;
  if (rule.address === 'localhost') return true;
  const network = withPrefix(rule.address, rule.netmask)?.split('/');
  const [base = '', prefix = ''] = network ?? [];
  const family = isIPv6(base) ? 'ipv6' : 'ipv4';
  if ((!isIPv4(base) && !isIPv6(base)) || (family === 'ipv6') !== isIPv6(address)) return false;
  const list = new BlockList();
  list.addSubnet(base, Number(prefix), family);
  return list.check(address, family);
}

import { isIPv4, isIPv6 } from 'node:net';
import { hbaRefusalHolds, type Finding } from '#contracts/replication';
import type { PostgresWorkload } from '#libs/sites/agent';
import { withPrefix } from '../server-facts.js';
import { covers } from './access-checks.js';
import { information, listed, warning } from './finding.js';
import type { HbaLine, ServerLook } from './server-look.js';

/**
 * What a front door means for this server: its clients come out of the tunnel at this machine, so that addresses in
 * pg_hba.conf do not tell them from programs here. The networks that the agency lists for the door do.
 */
export function checkFrontDoor(look: ServerLook, { host }: PostgresWorkload): Finding[] {
  const address = isIPv4(host) || isIPv6(host) ? host : '127.0.0.1';
  const lines = (look.hbaLines ?? []).filter(({ error, type, database }) => {
    return error === null && type !== 'local' && database.some((name) => name !== 'replication');
  });
  const entry = lines.find((line) => line.method !== 'reject' && covers(line, address));
  if (!entry) return checkRefusedRanges(lines);
  const what = `To pg_hba.conf, clients of a site's front door come from ${address} (line ${entry.line} lets them in with their password), wherever they are.`;
  const remedy =
    'A front door lets nobody in until you list from where clients may come (clientNetworks of the protection): list the networks of your own clients, and no more.';
  const elsewhere = lines.filter((line) => isAboutOthers(line, address));
  if (elsewhere.length === 0) return [information('hba.front-door', what, remedy)];
  return [
    warning(
      'hba.front-door',
      `${what} What other lines say about their addresses does not hold for them: ${saidOf(elsewhere)}.`,
      `${remedy} A role that may sign in from some addresses only needs a line of its own for ${address}.`,
    ),
  ];
}

/** Before a failover nobody comes by a door; after it, whoever a later line lets in from elsewhere. */
function checkRefusedRanges(lines: readonly HbaLine[]): Finding[] {
  const ranges = lines.filter(({ method, address, netmask }, index) => {
    if (method !== 'reject' || hbaRefusalHolds(withPrefix(address, netmask))) return false;
    return lines.slice(index + 1).some((later) => later.method !== 'reject');
  });
  if (ranges.length === 0) return [];
  return [
    warning(
      'hba.front-door',
      `At a site, clients come through its front door, wherever they are: pg_hba.conf refuses nobody by address there, as it does here in ${saidOf(ranges)}.`,
      'Leave the addresses of those out of the networks from which clients may come (clientNetworks of the protection).',
    ),
  ];
}

const saidOf = (lines: readonly HbaLine[]): string =>
  `line ${listed(lines.map(({ line, method, address }) => `${line} (${address ?? ''} ${method})`))}`;

/** A line that turns some clients away by their address, or lets in only those of some. */
function isAboutOthers(line: HbaLine, address: string): boolean {
  if (covers(line, address)) return line.method === 'reject';
  return line.address !== null && !covers(line, '127.0.0.1') && !covers(line, '::1');
}

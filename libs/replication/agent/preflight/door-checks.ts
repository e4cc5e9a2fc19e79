import { isIPv4, isIPv6 } from 'node:net';
import type { Finding } from '#contracts/replication';
import type { PostgresWorkload } from '#libs/sites/agent';
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
  if (!entry) return [];
  const what = `To pg_hba.conf, clients of a site's front door come from ${address} (line ${entry.line} lets them in with their password), wherever they are.`;
  const remedy =
    'A front door lets nobody in until you list from where clients may come (clientNetworks of the protection): list the networks of your own clients, and no more.';
  const elsewhere = lines.filter((line) => isAboutOthers(line, address));
  if (elsewhere.length === 0) return [information('hba.front-door', what, remedy)];
  const said = listed(elsewhere.map(({ line, method, address: of }) => `${line} (${of ?? ''} ${method})`));
  return [
    warning(
      'hba.front-door',
      `${what} What other lines say about their addresses does not hold for them: line ${said}.`,
      `${remedy} A role that may sign in from some addresses only needs a line of its own for ${address}.`,
    ),
  ];
}

/** A line that turns some clients away by their address, or lets in only those of some. */
function isAboutOthers(line: HbaLine, address: string): boolean {
  if (covers(line, address)) return line.method === 'reject';
  return line.address !== null && !covers(line, '127.0.0.1') && !covers(line, '::1');
}

import { isIP } from 'node:net';

/** Rules that refuse everybody from everywhere are kept; those for a range mean nothing behind a front door. */
const EVERYWHERE = new Set(['all', '0.0.0.0', '0.0.0.0/0', '::', '::/0']);
/** Ranges by another name: this machine, and its networks. */
const RANGES = new Set(['samehost', 'samenet', 'localhost']);

/**
 * Whether a site can write a user's or database's name of pg_hba.conf into its own rules, where names are quoted: no
 * group (`+clerks`), pattern (`/^clerk`) or file (`@clerks`), and not the old word for `samerole`.
 */
export function hbaNameFollows(name: string): boolean {
  return !/^[+@/]|["\r\n\0]|^samegroup$|^$/.test(name);
}

/**
 * Whether a rule that refuses has to refuse at a site, too. One for a range of addresses does not: there, all clients
 * come through the front door, which has its own list of networks. One for machines by their names (`desk.town.example`,
 * `.town.example`) does: no list of networks can say the same.
 */
export function hbaRefusalHolds(address: string | null): boolean {
  return address === null || EVERYWHERE.has(address) || isMachineName(address);
}

/**
 * What of a rule that refuses cannot be said at a site, so that it refuses everybody there whom it might mean; undefined
 * when it follows as it is, or needs not follow.
 */
export function hbaRefusalWidens(rule: {
  readonly database: readonly string[];
  readonly user: readonly string[];
  readonly address: string | null;
}): string | undefined {
  if (!hbaRefusalHolds(rule.address)) return undefined;
  if (rule.address !== null && isMachineName(rule.address)) return rule.address;
  return [...rule.user, ...rule.database].find((name) => !hbaNameFollows(name));
}

function isMachineName(address: string): boolean {
  return !EVERYWHERE.has(address) && !RANGES.has(address) && isIP(address.split('/')[0] ?? '') === 0;
}

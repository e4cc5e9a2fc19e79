import { isIPv6 } from 'node:net';

/** The eight groups of an IPv6 address, without a zone; an IPv4 address at its end counts as two of them. */
function groupsOf(address: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const [, head = '', a, b, c, d] = dotted ?? [];
  const text = dotted
    ? `${head}${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`
    : address;
  const [before = '', after] = text.split('::');
  const parse = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  if (after === undefined) return parse(before);
  const [left, right] = [parse(before), parse(after)];
  return [...left, ...Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => 0), ...right];
}

/**
 * An address as its peer would write it: an IPv4 one in IPv6 clothes (::ffff:a.b.c.d), as it comes to a socket of both
 * kinds, is that IPv4 address; a link-local one loses its zone. What is no address stays as it is.
 */
export function plainAddress(address: string): string {
  const plain = address.split('%')[0] ?? address;
  if (!isIPv6(plain)) return plain;
  const groups = groupsOf(plain);
  const [g6 = 0, g7 = 0] = groups.slice(6);
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  return mapped ? [g6 >> 8, g6 & 255, g7 >> 8, g7 & 255].join('.') : plain;
}

/**
 * Where something comes from, as limits count it: an IPv4 address, or the /64 of an IPv6 one. A single subscriber has a
 * whole /64 (RFC 6177), so limits by full address would be no limits.
 */
export function sourceOf(address: string): string {
  const plain = plainAddress(address);
  if (!isIPv6(plain)) return plain;
  return `${groupsOf(plain)
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')}::/64`;
}

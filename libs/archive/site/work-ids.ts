import { createHash } from 'node:crypto';

/** An id that follows from what it is for: whoever repeats the work makes the same one. */
export function derivedId(...of: readonly string[]): string {
  const hex = createHash('sha256').update(of.join('/')).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** A position in the write-ahead log, in bytes from its beginning. */
export type Lsn = bigint;

const DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024;

/**
 * `16/B374D848` → bytes.
 *
 * @throws RangeError when the text is no LSN.
 */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text.trim());
  if (!match) throw new RangeError(`not a position in the write-ahead log: ${JSON.stringify(text.slice(0, 40))}`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** Bytes → `16/B374D848`, as PostgreSQL prints it. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** Bytes by which `a` is ahead of `b`; negative when it is behind. As pg_wal_lsn_diff(a, b). */
export function lsnDifference(a: string, b: string): bigint {
  return parseLsn(a) - parseLsn(b);
}

/** The most advanced of several positions, nulls left out; undefined when there is none. */
export function maxLsn(...positions: readonly (string | null | undefined)[]): string | undefined {
  let best: string | undefined;
  for (const position of positions) {
    if (position && (best === undefined || parseLsn(position) > parseLsn(best))) best = position;
  }
  return best;
}

/** The name of the file in pg_wal that holds this position: timeline, then the segment's number in two halves. */
export function walSegmentName(timeline: number, lsn: string, segmentBytes: number = DEFAULT_SEGMENT_BYTES): string {
  const perHalf = 0x1_0000_0000n / BigInt(segmentBytes);
  const number = parseLsn(lsn) / BigInt(segmentBytes);
  return [BigInt(timeline), number / perHalf, number % perHalf]
    .map((part) => part.toString(16).toUpperCase().padStart(8, '0'))
    .join('');
}

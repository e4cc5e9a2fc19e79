/** All in milliseconds. */
export interface LinkTimings {
  /** Each end pings the other so often. */
  readonly pingEvery: number;
  /** A link on which nothing at all came for so long is dead, whatever TCP says: dropped packets refuse nothing. */
  readonly deadAfter: number;
  /** From the connection to its first byte, at the gateway. */
  readonly firstByte: number;
  /** From the connection to the welcome. */
  readonly handshake: number;
  /** How long the older of two agents with one identity has to answer. */
  readonly duplicateProbe: number;
  /** How long the agent has to bring a workload's connection. */
  readonly streamOpen: number;
  /** The first redial comes within this time; the range doubles with each failure. */
  readonly redialFirst: number;
  readonly redialLongest: number;
  /** The longest range once the gateway has said no (revoked, unknown, duplicate). */
  readonly refusedLongest: number;
}

export const DEFAULT_TIMINGS: LinkTimings = {
  pingEvery: 2_000,
  deadAfter: 5_000,
  firstByte: 2_000,
  handshake: 10_000,
  duplicateProbe: 1_000,
  streamOpen: 15_000,
  redialFirst: 250,
  redialLongest: 5_000,
  refusedLongest: 30_000,
};

/** What a link wants to have logged; never secrets. */
export type LinkLog = (level: 'info' | 'warn', message: string, facts: Readonly<Record<string, unknown>>) => void;

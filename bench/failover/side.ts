/**
 * One of the things that are compared: a primary, something that can take over, and a way to tell it to. A round breaks
 * the primary with kill -9, gives the order, and answers how long it took.
 */
export interface FailoverSide {
  readonly name: string;
  /** Brings up whatever the first round needs. */
  prepare(): Promise<void>;
  /** Seconds from the order (or, where nobody orders, from the kill) to the first write acknowledged afterwards. */
  round(): Promise<number>;
  /** Ends every process it started and removes its folder; safe at any time, also while a round runs. */
  close(): Promise<void>;
}

/** A reference that this machine cannot run: the bench says so and leaves its case out. */
export class SideMissingError extends Error {
  override readonly name = 'SideMissingError';
}

import type { CloseReason, Lane } from './contract.js';
import { HelloRefusedError } from './errors.js';
import type { LinkTimings } from './timings.js';

export interface LinkStatus {
  readonly siteId: string;
  readonly lane: Lane;
  readonly state: 'connecting' | 'connected' | 'waiting' | 'closed';
  readonly connectedSince: Date | null;
  readonly roundTripMs: number | null;
  /** Why the last attempt failed or the last link ended; null while all is well. */
  readonly lastError: string | null;
  /** Dials since the last link that lasted. */
  readonly attempts: number;
}

/** These refusals will not pass by themselves: asking often helps nobody. */
const LASTING: ReadonlySet<string> = new Set([
  'unknown',
  'revoked',
  'bad-signature',
  'duplicate',
  'unsupported-version',
]);
/** Why the gateway closed a link, for the person who reads the agent's status. */
export const CLOSE_TEXT: Readonly<Record<CloseReason, string>> = {
  revoked: 'The provider revoked this agent.',
  replaced: 'A newer link of this agent took its place.',
  silent: 'Nothing came over the link any more: packets are lost, or the other end hangs.',
  shutdown: 'The site is restarting its gateway.',
  lost: 'The connection broke.',
};

/**
 * Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): anywhere between now and a limit that doubles
 * with each failure, so that a thousand agents do not come back in one wave.
 */
export function redialDelay(timings: LinkTimings, attempts: number, error: unknown): number {
  const lasting = error instanceof HelloRefusedError && LASTING.has(error.refusal);
  const longest = lasting ? timings.refusedLongest : timings.redialLongest;
  return Math.random() * Math.min(longest, timings.redialFirst * 2 ** Math.min(attempts, 16));
}

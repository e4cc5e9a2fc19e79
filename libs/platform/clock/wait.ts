import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly everyMs?: number;
  readonly signal?: AbortSignal;
}

/** Thrown by {@link waitFor} with the last error that the condition threw as its cause. */
export class WaitTimeoutError extends Error {
  constructor(what: string, timeoutMs: number, cause?: unknown) {
    const last = cause instanceof Error ? ` (last: ${cause.message})` : '';
    super(`waited ${timeoutMs / 1000} s for ${what} in vain${last}`, { cause });
    this.name = 'WaitTimeoutError';
  }
}

/** Waits for so long, or until the signal is aborted: whoever paces a loop by it looks at the signal itself. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/**
 * Waits until `condition` answers something other than undefined, null or false, and returns it. A condition that
 * throws counts as not yet.
 *
 * @throws WaitTimeoutError once `timeoutMs` have passed, and the signal's reason when aborted.
 */
export async function waitFor<T>(
  what: string,
  condition: () => Promise<T> | T,
  options: WaitOptions,
): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + options.timeoutMs;
  let last: unknown;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value as NonNullable<Exclude<T, false>>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= end) throw new WaitTimeoutError(what, options.timeoutMs, last);
    await delay(options.everyMs ?? 50, undefined, options.signal ? { signal: options.signal } : {});
  }
}

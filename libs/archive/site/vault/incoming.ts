import type { IncomingObject } from './storage.js';

/**
 * Runs `work`, and clears what it left of the object.
 *
 * @throws what `work` throws, whatever becomes of clearing it: why it failed matters more, and at the next start it is cleared
 * again
 */
export async function clearedAfter<T>(incoming: IncomingObject, work: () => Promise<T>): Promise<T> {
  let done: T;
  try {
    done = await work();
  } catch (error) {
    await incoming.discard().catch(() => undefined);
    throw error;
  }
  await incoming.discard();
  return done;
}

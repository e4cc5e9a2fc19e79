import type { RunEvent, RunState } from '#contracts/failover';
import { Watch } from '#libs/platform/database';

export interface RunSight {
  readonly state: RunState;
  /** In order. */
  readonly events: readonly RunEvent[];
}

/** A run with all of its events, each of them read once. @param read gives the events above a number */
export function watchRun(read: (after: number) => Promise<RunSight>): Watch<RunSight> {
  let known: readonly RunEvent[] = [];
  return new Watch(async () => {
    const { state, events } = await read(known.at(-1)?.number ?? 0);
    known = [...known, ...events];
    return { state, events: known };
  });
}

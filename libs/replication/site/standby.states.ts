import type { StandbyState } from '#contracts/replication';

/**
 * What a standby can become, from each state. The row's state is what this site has reached; what it is to reach stands
 * in the row's other columns (paused, removing, follow), and the reconciler closes the gap.
 *
 * preparing: role, slot and room. seeding: the copy is under way. catching-up: the server runs and streams, but is not
 * there yet. streaming: it has what the source has, and production waits for it where it is the metro's. broken: it does
 * not stream, and the reason says why; repaired by itself where that can be.
 */
export const TRANSITIONS: Readonly<Record<StandbyState, readonly StandbyState[]>> = {
  preparing: ['seeding', 'broken', 'paused', 'removing'],
  seeding: ['catching-up', 'preparing', 'broken', 'paused', 'removing'],
  'catching-up': ['streaming', 'preparing', 'broken', 'paused', 'promoting', 'removing'],
  streaming: ['catching-up', 'preparing', 'broken', 'paused', 'promoting', 'removing'],
  broken: ['preparing', 'seeding', 'catching-up', 'streaming', 'paused', 'promoting', 'removing'],
  paused: ['preparing', 'catching-up', 'promoting', 'removing'],
  promoting: ['primary', 'catching-up', 'broken'],
  // Another site has been promoted after this one: it becomes that one's standby, copied anew.
  primary: ['preparing'],
  removing: ['removed'],
  removed: [],
};

/** States in which a walreceiver is meant to run. */
export const isReceiving = (state: StandbyState): boolean => state === 'catching-up' || state === 'streaming';

/** States in which the standby may be asked to take over: its data is whole, whether or not it streams now. */
export const mayBePromoted = (state: StandbyState): boolean =>
  state === 'catching-up' || state === 'streaming' || state === 'broken' || state === 'paused' || state === 'promoting';

/** Nothing of the agency's server concerns a standby that has become the primary or is going away. */
export const followsSource = (state: StandbyState): boolean =>
  state !== 'primary' && state !== 'promoting' && state !== 'removing' && state !== 'removed';

export function mayBecome(from: StandbyState, to: StandbyState): boolean {
  return from === to || TRANSITIONS[from].includes(to);
}

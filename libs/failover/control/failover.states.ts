import { RUN_STATES, type RunState } from '#contracts/failover';

/**
 * How a run's state may change, as the site that carries it out tells. A person's cancel is a wish until the site
 * has answered it: what is promoted cannot be taken back.
 */
export const RUN_TRANSITIONS: Readonly<Record<RunState, readonly RunState[]>> = {
  accepted: ['running', 'awaiting-confirmation', 'cancelling', 'cancelled', 'completed', 'failed'],
  running: ['awaiting-confirmation', 'cancelling', 'cancelled', 'completed', 'failed'],
  'awaiting-confirmation': ['running', 'cancelling', 'cancelled', 'completed', 'failed'],
  cancelling: ['running', 'cancelled', 'completed', 'failed'],
  // A run that was given up here may have promoted all the same.
  cancelled: ['completed', 'failed'],
  completed: [],
  failed: [],
};

export const FINAL_STATES: readonly RunState[] = ['cancelled', 'completed', 'failed'];
export const isFinal = (state: RunState): boolean => FINAL_STATES.includes(state);

/** The states from which `to` can be reached, for an `UPDATE … WHERE state = ANY(…)`. */
export const runStatesBefore = (to: RunState): RunState[] =>
  RUN_STATES.filter((state) => RUN_TRANSITIONS[state].includes(to));

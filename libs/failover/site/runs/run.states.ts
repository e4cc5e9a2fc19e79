import type { RunState } from '#contracts/failover';

/** What a run can become. `cancelling` and `failed` come before the promotion only: from there on it is finished. */
export const RUN_TRANSITIONS: Readonly<Record<RunState, readonly RunState[]>> = {
  accepted: ['running', 'cancelling', 'failed'],
  running: ['awaiting-confirmation', 'cancelling', 'completed', 'failed'],
  'awaiting-confirmation': ['running', 'cancelling', 'failed'],
  cancelling: ['cancelled'],
  cancelled: [],
  completed: [],
  failed: [],
};

export const isClosed = (state: RunState): boolean => RUN_TRANSITIONS[state].length === 0;

/** States in which the engine has something to do; a run that awaits a person's word has not. */
export const isDriven = (state: RunState): boolean => !isClosed(state) && state !== 'awaiting-confirmation';

export const mayTurn = (from: RunState, to: RunState): boolean => from === to || RUN_TRANSITIONS[from].includes(to);

export const STEP_STATES = ['started', 'done', 'skipped', 'retrying', 'failed'] as const;
export type StepState = (typeof STEP_STATES)[number];

export const isOver = (state: StepState): boolean => state === 'done' || state === 'skipped';

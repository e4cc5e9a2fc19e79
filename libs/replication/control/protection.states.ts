/**
 * Where a protection stands in its life, as the control plane means it; what replication really does is measured
 * (see health.ts) and is another thing.
 */
export const PROTECTION_STATES = [
  'checking',
  'blocked',
  'protecting',
  'failing-over',
  'failed-over',
  'removing',
  'removed',
] as const;
export type ProtectionState = (typeof PROTECTION_STATES)[number];

/**
 * checking: a preflight runs before anything is ordered. blocked: it found what must be mended first. failing-over: a
 * declaration is in force, so nothing may be changed or granted. failed-over: production runs at a site.
 */
export const PROTECTION_TRANSITIONS: Readonly<Record<ProtectionState, readonly ProtectionState[]>> = {
  checking: ['protecting', 'blocked', 'removed'],
  blocked: ['removed'],
  // A run that was given up may have promoted all the same.
  protecting: ['failing-over', 'failed-over', 'removing'],
  'failing-over': ['protecting', 'failed-over'],
  'failed-over': ['failing-over'],
  removing: ['removed'],
  removed: [],
};

/** The states from which `to` can be reached, for an `UPDATE … WHERE state = ANY(…)`. */
export const protectionStatesBefore = (to: ProtectionState): ProtectionState[] =>
  PROTECTION_STATES.filter((state) => PROTECTION_TRANSITIONS[state].includes(to));

/** Whether mode, pace and pauses may be changed, and grants to degrade be given. */
export const mayChange = (state: ProtectionState): boolean => state === 'protecting';

/** Whether the front doors may be opened and closed to networks: also when clients need them most. */
export const mayAdmitClients = (state: ProtectionState): boolean =>
  state === 'protecting' || state === 'failing-over' || state === 'failed-over';

/** Whether a failover may be declared; the outlook says what it would bring. */
export const mayDeclare = (state: ProtectionState): boolean => state === 'protecting' || state === 'failed-over';

import type { PulseWorkload } from '#contracts/replication';

export const names = {
  metroApplication: 'ms_metro',
  lease: 'ms_lease',
  metroSlot: 'ms_metro_slot',
  regionalSlot: 'ms_regional_slot',
  metroRole: 'ms_metro_role',
  regionalRole: 'ms_regional_role',
  regionalApplication: 'ms_regional',
};

/** What an agent says of a server that runs and is armed, with whatever is different. */
export const pulseSaid = (workloadId: string, changes: Partial<PulseWorkload> = {}): PulseWorkload => ({
  workloadId,
  reachable: true,
  lsn: '0/5000060',
  timeline: 1,
  systemIdentifier: '1',
  wallClock: new Date().toISOString(),
  inRecovery: false,
  armed: true,
  armedSince: new Date().toISOString(),
  notArmedBecause: null,
  disarmRequest: null,
  degraded: null,
  fenced: null,
  divergence: null,
  slots: [],
  alarms: [],
  ...changes,
});

import type { Alarm, ProtectionMode, ReplicationNames } from '#contracts/replication';
import type { Arming } from './armed.js';
import { isOurs, type Sample } from './sample.js';

const NEARLY_LOST_BYTES = 256 * 1_048_576;

/** What can be wrong at the agency while a workload is protected, and what to do about it. */
export const ALARMS = {
  unreachable: (name: string): Alarm => ({
    code: 'server.unreachable',
    what: `The PostgreSQL server of "${name}" does not answer the agent.`,
    remedy: 'See whether it runs and what its log says. Is it meant to be down, announce a planned reboot.',
  }),
  stalled: (strict: boolean): Alarm => ({
    code: 'replication.stalled',
    what: strict
      ? 'The metro site has stopped acknowledging, and in strict mode production waits for it.'
      : 'The metro site has stopped acknowledging; production goes on without it as soon as that is safe.',
    remedy: strict
      ? 'Restore the line to the metro site, or let an authorised person allow production to go on without it for a while.'
      : 'Restore the line to the metro site. Until then a second loss could cost data.',
  }),
  impostor: (processIds: readonly number[]): Alarm => ({
    code: 'replication.impostor',
    what: `Somebody else streams under the metro site's name (process ${processIds.join(', ')}), so that a commit proves nothing.`,
    remedy:
      'End that client (SELECT pg_terminate_backend(PROCESS)) and find out who started it: a copied standby keeps its settings.',
  }),
  namesChanged: (setting: string): Alarm => ({
    code: 'replication.synchronous-names-changed',
    what: `synchronous_standby_names reads ${JSON.stringify(setting)}, which is not what Mainstay set: commits do not wait for the metro site.`,
    remedy:
      'Undo the change (ALTER SYSTEM RESET synchronous_standby_names where it was set by hand), then arm the protection again.',
  }),
  receiverFailed: (fault: string): Alarm => ({
    code: 'degrade.receiver-failed',
    what: `Production may go on without the metro site, but the local receiver does not run: ${fault}`,
    remedy:
      "Allow local replication connections for the agent's user in pg_hba.conf, and see that the agent's disk is not full.",
  }),
  slotLost: (name: string): Alarm => ({
    code: 'slot.lost',
    what: `The slot ${name} fell so far behind that the server dropped its log: that site must be seeded anew.`,
    remedy: 'Nothing to do: the site seeds itself again. If it recurs, make room on the disk of pg_wal.',
  }),
  slotNearlyLost: (name: string, bytes: number): Alarm => ({
    code: 'slot.nearly-lost',
    what: `The slot ${name} may fall behind by another ${Math.round(bytes / 1_048_576)} MiB before its log is dropped.`,
    remedy: 'Restore the line to that site, or make room on the disk of pg_wal.',
  }),
  recovery: (): Alarm => ({
    code: 'server.in-recovery',
    what: 'The server is in recovery and accepts no writes.',
    remedy: 'If it was made a standby on purpose, remove the protection and protect its primary.',
  }),
} as const;

export interface ReplicationState {
  readonly sample: Sample;
  readonly arming: Arming;
  readonly names: ReplicationNames;
  readonly mode: ProtectionMode;
  readonly stalled: boolean;
  /** Why the receiver does not run although it may; null when all is well. */
  readonly fault: string | null;
}

/** What one look at the server finds wrong. */
export function replicationAlarms({ sample, arming, names, mode, stalled, fault }: ReplicationState): Alarm[] {
  const alarms: Alarm[] = [];
  if (sample.inRecovery) alarms.push(ALARMS.recovery());
  if (stalled) alarms.push(ALARMS.stalled(mode === 'strict'));
  if (arming.impostors.length > 0) alarms.push(ALARMS.impostor(arming.impostors.map(({ pid }) => pid)));
  const setting = sample.synchronousNames;
  if (setting !== '' && !isOurs(setting, names)) alarms.push(ALARMS.namesChanged(setting));
  if (fault !== null) alarms.push(ALARMS.receiverFailed(fault));
  for (const slot of sample.slots.filter(({ name }) => name === names.metroSlot || name === names.regionalSlot)) {
    if (slot.walStatus === 'lost') alarms.push(ALARMS.slotLost(slot.name));
    else if (slot.safeWalBytes !== null && slot.safeWalBytes < NEARLY_LOST_BYTES) {
      alarms.push(ALARMS.slotNearlyLost(slot.name, slot.safeWalBytes));
    }
  }
  return alarms;
}

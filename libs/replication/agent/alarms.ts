import type { Alarm, ProtectionMode, ReplicationNames } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { Arming } from './armed.js';
import { isOurs, type Sample } from './sample.js';

const NEARLY_LOST_BYTES = 256 * 1_048_576;

/** What a person may do when the synchronous site is lost, the better first. */
const WAY_OUT: Readonly<Record<SiteRole, string>> = {
  metro:
    'Or let an authorised person make the regional site the synchronous one (degrade with "to": "regional": slower, and still nothing is lost), or, where that cannot be, allow production to go on alone for a while (degrade with "to": "alone": a second loss is then unknown).',
  regional:
    'Or let an authorised person return to the metro site (rearm), or, where that cannot be, allow production to go on alone for a while (degrade with "to": "alone": a second loss is then unknown).',
};

/** What can be wrong at the agency while a workload is protected, and what to do about it. */
export const ALARMS = {
  unreachable: (name: string): Alarm => ({
    code: 'server.unreachable',
    what: `The PostgreSQL server of "${name}" does not answer the agent.`,
    remedy: 'See whether it runs and what its log says. Is it meant to be down, announce a planned reboot.',
  }),
  stalled: (strict: boolean, leader: SiteRole = 'metro'): Alarm => ({
    code: 'replication.stalled',
    what: strict
      ? `The ${leader} site has stopped acknowledging, and in strict mode production waits for it.`
      : `The ${leader} site has stopped acknowledging; production goes on without it as soon as that is safe.`,
    remedy: `Restore the line to the ${leader} site. ${strict ? WAY_OUT[leader] : 'Until then a second loss could cost data.'}`,
  }),
  moveBlocked: (to: SiteRole): Alarm => ({
    code: 'replication.move-blocked',
    what: `The ${to} site was to become the synchronous one, but it does not stream or is too far behind: nothing was changed.`,
    remedy: `Restore the line to the ${to} site; the change is made as soon as it is near. If that cannot be, an authorised person may let production go on alone (degrade with "to": "alone").`,
  }),
  impostor: (processIds: readonly number[], leader: SiteRole = 'metro'): Alarm => ({
    code: 'replication.impostor',
    what: `Somebody else streams under the ${leader} site's name (process ${processIds.join(', ')}), so that a commit proves nothing.`,
    remedy:
      'End that client (SELECT pg_terminate_backend(PROCESS)) and find out who started it: a copied standby keeps its settings.',
  }),
  namesChanged: (setting: string): Alarm => ({
    code: 'replication.synchronous-names-changed',
    what: `synchronous_standby_names reads ${JSON.stringify(setting)}, which is not what Mainstay set: commits do not wait for a warm site.`,
    remedy:
      'Undo the change (ALTER SYSTEM RESET synchronous_standby_names where it was set by hand), then arm the protection again.',
  }),
  receiverFailed: (fault: string): Alarm => ({
    code: 'degrade.receiver-failed',
    what: `Production may go on alone, but the local receiver does not run: ${fault}`,
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
  stateUnwritable: (why: string): Alarm => ({
    code: 'agent.state-unwritable',
    what: `The agent cannot write down what it must not forget: ${why}.`,
    remedy:
      'Make room on the disk of its --config directory. Until then a restart of the agent may forget a fencing epoch, or that a grant is over.',
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
  /** The site that was to become the synchronous one, and is not near. */
  readonly moveBlocked: SiteRole | null;
  /** Why the receiver does not run although it may; null when all is well. */
  readonly fault: string | null;
  /** Why what is known of grants is not on the disk; null when it is. */
  readonly unsaved: string | null;
}

/** What one look at the server finds wrong. */
export function replicationAlarms(state: ReplicationState): Alarm[] {
  const { sample, arming, names, mode, stalled, moveBlocked, fault, unsaved } = state;
  const leader = arming.leader ?? 'metro';
  const alarms: Alarm[] = [];
  if (sample.inRecovery) alarms.push(ALARMS.recovery());
  if (stalled) alarms.push(ALARMS.stalled(mode === 'strict', leader));
  if (arming.impostors.length > 0)
    alarms.push(
      ALARMS.impostor(
        arming.impostors.map(({ pid }) => pid),
        leader,
      ),
    );
  if (moveBlocked !== null) alarms.push(ALARMS.moveBlocked(moveBlocked));
  const setting = sample.synchronousNames;
  if (setting !== '' && !isOurs(setting, names)) alarms.push(ALARMS.namesChanged(setting));
  if (fault !== null) alarms.push(ALARMS.receiverFailed(fault));
  if (unsaved !== null) alarms.push(ALARMS.stateUnwritable(unsaved));
  for (const slot of sample.slots.filter(({ name }) => name === names.metroSlot || name === names.regionalSlot)) {
    if (slot.walStatus === 'lost') alarms.push(ALARMS.slotLost(slot.name));
    else if (slot.safeWalBytes !== null && slot.safeWalBytes < NEARLY_LOST_BYTES) {
      alarms.push(ALARMS.slotNearlyLost(slot.name, slot.safeWalBytes));
    }
  }
  return alarms;
}

import type { Alarm, PulseWorkload } from '#contracts/replication';
import type { PulseEntry } from '#libs/replication/agent';

/** The answer about a workload that the agent says nothing of. */
function unserved({ workloadId }: PulseEntry, at: Date, because: string, alarms: Alarm[]): PulseWorkload {
  return {
    workloadId,
    reachable: false,
    lsn: null,
    timeline: null,
    systemIdentifier: null,
    wallClock: at.toISOString(),
    inRecovery: null,
    armed: false,
    armedSince: null,
    notArmedBecause: because,
    disarmRequest: null,
    degraded: null,
    fenced: null,
    divergence: null,
    slots: [],
    alarms,
  };
}

export function notListed(entry: PulseEntry, at: Date): PulseWorkload {
  return unserved(entry, at, "the agent's configuration does not list it", [
    {
      code: 'workload.not-listed',
      what: `The agent's configuration no longer lists "${entry.name}".`,
      remedy: 'Put it back into agent.json, or remove its protection in Mainstay.',
    },
  ]);
}

/** @param final the control plane was asked about it: before that, the site may only have been the first to hear. */
export function notAssigned(entry: PulseEntry, at: Date, { why, final }: { why: string; final: boolean }) {
  const alarm = {
    code: 'agent.site-not-assigned',
    what: `The agent does not serve this site in "${entry.name}": ${why}.`,
    remedy:
      "If the site is right, see that the agent's machine reaches the address of Mainstay's API; otherwise tell Mainstay.",
  };
  return unserved(entry, at, `the agent does not serve this site: ${why}`, final ? [alarm] : []);
}

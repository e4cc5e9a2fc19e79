import { type Alarm, type PulseWorkload, REGIONAL_LEADS } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { Sample } from './sample.js';

/** What one look at the server came to. */
export interface Verdict {
  readonly armed: boolean;
  readonly because: string | null;
  readonly since: Date | null;
  /** The synchronous site; null when there is none. */
  readonly leader: SiteRole | null;
  readonly alarms: readonly Alarm[];
}

type Server = Pick<PulseWorkload, 'reachable' | 'lsn' | 'timeline' | 'systemIdentifier' | 'inRecovery' | 'slots'>;

/** The server's part of an answer; undefined when it did not answer. */
export function describeServer(sample: Sample | undefined): Server {
  return {
    reachable: sample !== undefined,
    lsn: sample?.lsn ?? null,
    timeline: sample?.timeline ?? null,
    systemIdentifier: sample?.systemIdentifier ?? null,
    inRecovery: sample?.inRecovery ?? null,
    slots: (sample?.slots ?? []).map(({ activePid: _activePid, ...slot }) => slot),
  };
}

/** What an answer to this site says of being armed: to the metro nothing but of itself (see REGIONAL_LEADS). */
export function describeArming(
  role: SiteRole,
  verdict: Verdict | undefined,
): Pick<PulseWorkload, 'armed' | 'armedSince' | 'notArmedBecause'> {
  if (!verdict) return { armed: false, armedSince: null, notArmedBecause: 'the server does not answer' };
  const { armed, because, since, leader } = verdict;
  if (role === 'metro' && leader === 'regional') {
    return { armed: false, armedSince: null, notArmedBecause: because ?? REGIONAL_LEADS };
  }
  return { armed, armedSince: since?.toISOString() ?? null, notArmedBecause: because };
}

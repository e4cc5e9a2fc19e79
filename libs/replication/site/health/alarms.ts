import type { Alarm } from '#contracts/replication';
import type { Capacity, StandbyPosition } from '#libs/sites/site';
import { diskAlarms } from '../disk.js';
import { isFresh, type SourceReport } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { isReceiving } from '../standby.states.js';

/** Behind without moving for so long is a stall; the whole detection stays below 10 s. */
export const STALL_SECONDS = 6;

export interface Observed {
  readonly standby: Standby;
  readonly report: SourceReport | undefined;
  readonly position: StandbyPosition | undefined;
  readonly stalledSeconds: number;
  /** Undefined when it could not be measured. */
  readonly capacity: Capacity | undefined;
  /** Its certificate could not be made or renewed. */
  readonly uncertified: boolean;
}

const alarm = (code: string, what: string, remedy: string): Alarm => ({ code, what, remedy });

/** What is wrong with a standby now, each with what to do about it. A planned reboot of the agency's server silences. */
export function alarmsOf(observed: Observed, now: Date): Alarm[] {
  const { standby, report } = observed;
  const here = [...(observed.capacity ? diskAlarms(observed.capacity) : []), ...certificateAlarms(observed)];
  if (standby.state === 'primary') return here;
  if (standby.state === 'paused' || standby.state === 'removing') return [];
  if (standby.rebootUntil !== null && standby.rebootUntil > now) return [];
  const alarms = [...here, ...standbyAlarms(observed), ...standby.findings];
  if (standby.follow === 'agency') alarms.push(...sourceAlarms(standby, report));
  return alarms.filter((each, index) => alarms.findIndex(({ code }) => code === each.code) === index);
}

function certificateAlarms({ uncertified }: Observed): Alarm[] {
  if (!uncertified) return [];
  const what =
    'The site cannot make or renew the certificate of its server: clients that use TLS may not get in there.';
  return [
    alarm('site.certificate', what, "The provider finds the reason in the site's log. It is tried again all the time."),
  ];
}

function standbyAlarms({ standby, position, stalledSeconds }: Observed): Alarm[] {
  const alarms: Alarm[] = [];
  const [code = '', ...text] = (standby.stateReason ?? '').split(': ');
  if (standby.stateReason !== null) {
    alarms.push(alarm(code, text.join(': '), 'The site works on it by itself; look here again in a few minutes.'));
  }
  if (isReceiving(standby.state) && position === undefined) {
    alarms.push(alarm('server-down', 'The standby does not answer.', 'The site starts it again by itself.'));
  }
  if (position?.replayPaused) {
    const what = 'The standby receives but does not replay: it would be out of date, and may refuse to be promoted.';
    alarms.push(
      alarm('replay-paused', what, 'The site mends it; if it stays, lower the raised setting at the agency.'),
    );
  }
  if (stalledSeconds >= STALL_SECONDS) {
    const what = `The stream has stood still for ${Math.floor(stalledSeconds)} s although the source goes on.`;
    alarms.push(alarm('stream-stalled', what, "Check the line between the agency and the site, and the agent's log."));
  }
  return alarms;
}

function sourceAlarms(standby: Standby, report: SourceReport | undefined): Alarm[] {
  if (!isFresh(report)) {
    if (standby.state === 'preparing' && report === undefined) return [];
    const what = 'The agent is silent: how far the standby is behind is not known.';
    return [alarm('source-silent', what, 'Check that the agent runs and that its machine reaches this site.')];
  }
  return [...report.report.alarms];
}

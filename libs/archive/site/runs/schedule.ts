import { createHash } from 'node:crypto';
import type { ArchivePolicy, Schedule } from '#contracts/archive';
import { instantOf, localOf, type LocalTime } from './local-time.js';

/** What of a policy says when runs are due. */
export type Timing = Pick<ArchivePolicy, 'schedule' | 'timeZone' | 'quietHours'>;

const MINUTE = 60_000;
const DAY_MS = 86_400_000;
/** Over so much the runs of one moment of the clock are spread, so that an agency's archives do not all begin at once. */
const SPREAD_MS = 30 * MINUTE;
const WEEKDAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'];
const PERIOD_MS: Readonly<Record<Schedule['every'], number>> = {
  'fifteen-minutes': 15 * MINUTE,
  hour: 60 * MINUTE,
  day: DAY_MS,
  week: 7 * DAY_MS,
};

/** In milliseconds, between two runs. */
export const periodOf = (schedule: Schedule): number => PERIOD_MS[schedule.every];

/**
 * When the first run after a moment is due, always later than it. Times of day are the archive's time zone's: one that
 * daylight saving skips comes as much later, one that it repeats counts once, the first time. What falls into the quiet
 * hours is put off to their end. The same archive and the same moment give the same answer.
 */
export function nextDue(timing: Timing, archiveId: string, after: Date): Date {
  const { schedule } = timing;
  const share = shareOf(archiveId);
  for (let from = after.getTime(); ;) {
    const due =
      schedule.every === 'day' || schedule.every === 'week'
        ? nextOfClock(schedule, timing.timeZone, share * SPREAD_MS, from)
        : nextOfPeriod(periodOf(schedule), share, from);
    const put = outOfQuiet(timing, due, share);
    if (put > after.getTime()) return new Date(put);
    // It was put off to a moment that is past already: that one was meant, and has been.
    from = due;
  }
}

/** The moment itself, or the end of the quiet hours that it falls into. */
export const afterQuiet = (timing: Timing, archiveId: string, at: Date): Date =>
  new Date(outOfQuiet(timing, at.getTime(), shareOf(archiveId)));

export const isQuiet = (timing: Pick<Timing, 'timeZone' | 'quietHours'>, at: Date): boolean =>
  quietEnd(timing, at.getTime()) !== undefined;

/** Bytes a second that a run may use now; null: as many as it can. */
export function bandwidthAt(policy: Timing & Pick<ArchivePolicy, 'bandwidthBytesPerSecond'>, at: Date): number | null {
  const usual = policy.bandwidthBytesPerSecond;
  const quiet = isQuiet(policy, at) ? (policy.quietHours?.bandwidthBytesPerSecond ?? null) : null;
  if (usual === null || quiet === null) return quiet ?? usual;
  return Math.min(usual, quiet);
}

/** From 0 up to 1: always the same for one archive, and even over all of them. */
const shareOf = (archiveId: string): number =>
  createHash('sha256').update(archiveId).digest().readUInt32BE(0) / 0x1_0000_0000;

function nextOfPeriod(period: number, share: number, after: number): number {
  const offset = Math.floor(share * period);
  return (Math.floor((after - offset) / period) + 1) * period + offset;
}

function nextOfClock(
  schedule: Extract<Schedule, { at: string }>,
  timeZone: string,
  late: number,
  after: number,
): number {
  const [hour = 0, minute = 0] = schedule.at.split(':').map(Number);
  const first = localOf(timeZone, after - late - DAY_MS);
  // A day longer than a week, since daylight saving may move the seventh past the moment.
  for (let days = 0; days <= 9; days += 1) {
    const date = addDays(first, days);
    if (schedule.every === 'week' && WEEKDAYS[date.weekday] !== schedule.on) continue;
    const due = instantOf(timeZone, { ...date, hour, minute }) + Math.floor(late);
    if (due > after) return due;
  }
  throw new Error(`no day follows ${new Date(after).toISOString()}`);
}

function outOfQuiet(timing: Timing, at: number, share: number): number {
  const end = quietEnd(timing, at);
  if (end === undefined) return at;
  const spread = end + Math.floor((share * SPREAD_MS) / 2);
  // Where almost all of the day is quiet, what is left of it is shorter than the spread.
  return quietEnd(timing, spread) === undefined ? spread : end;
}

/** When the quiet hours end that the moment lies in; undefined when it lies in none. */
function quietEnd({ timeZone, quietHours }: Pick<Timing, 'timeZone' | 'quietHours'>, at: number): number | undefined {
  if (!quietHours || quietHours.from === quietHours.to) return undefined;
  const local = localOf(timeZone, at);
  const now = local.hour * 60 + local.minute;
  const [from, to] = [minutesOf(quietHours.from), minutesOf(quietHours.to)];
  const overNight = from > to;
  const quiet = overNight ? now >= from || now < to : now >= from && now < to;
  if (!quiet) return undefined;
  const date = overNight && now >= from ? addDays(local, 1) : local;
  const end = instantOf(timeZone, { ...date, hour: Math.floor(to / 60), minute: to % 60 });
  // The hour that daylight saving repeats: the end has been, and comes once more.
  return end > at ? end : end + 60 * MINUTE;
}

const minutesOf = (clock: string): number => Number(clock.slice(0, 2)) * 60 + Number(clock.slice(3));

function addDays(date: LocalTime, days: number): LocalTime {
  const moved = new Date(Date.UTC(date.year, date.month - 1, date.day + days));
  return {
    ...date,
    year: moved.getUTCFullYear(),
    month: moved.getUTCMonth() + 1,
    day: moved.getUTCDate(),
    weekday: moved.getUTCDay(),
  };
}

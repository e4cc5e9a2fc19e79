/** A moment as the clock on the wall shows it in some time zone. */
export interface LocalTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  /** 0 is Sunday. */
  readonly weekday: number;
}

const DAY_MS = 86_400_000;
const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timeZone: string): Intl.DateTimeFormat {
  let format = formats.get(timeZone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      calendar: 'gregory',
      numberingSystem: 'latn',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(timeZone, format);
  }
  return format;
}

/** The clock's reading as if it were UTC, in milliseconds, to the second. */
function reading(timeZone: string, at: number): number {
  const parts: Record<string, number> = {};
  for (const { type, value } of formatOf(timeZone).formatToParts(at)) parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

export function localOf(timeZone: string, at: number): LocalTime {
  const shown = new Date(reading(timeZone, at));
  return {
    year: shown.getUTCFullYear(),
    month: shown.getUTCMonth() + 1,
    day: shown.getUTCDate(),
    hour: shown.getUTCHours(),
    minute: shown.getUTCMinutes(),
    weekday: shown.getUTCDay(),
  };
}

/**
 * The first moment at which the clock reads so. A reading that daylight saving skips is taken with the offset of before,
 * so that it comes as much after the change as it was meant to come after it.
 */
export function instantOf(timeZone: string, local: Omit<LocalTime, 'weekday'>): number {
  const wanted = Date.UTC(local.year, local.month - 1, local.day, local.hour, local.minute);
  const offset = (at: number) => reading(timeZone, at) - Math.floor(at / 1_000) * 1_000;
  const [before, behind] = [offset(wanted - DAY_MS), offset(wanted + DAY_MS)];
  const candidates = [wanted - before, wanted - behind].sort((a, b) => a - b);
  return candidates.find((at) => reading(timeZone, at) === wanted) ?? wanted - before;
}

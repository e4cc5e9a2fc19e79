/** The rules of a retention, from the finest to the coarsest. */
export const RULES = ['hours', 'days', 'weeks', 'months', 'years'] as const;
export type Rule = (typeof RULES)[number];

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timeZone: string): Intl.DateTimeFormat {
  const known = formats.get(timeZone);
  if (known) return known;
  const made = new Intl.DateTimeFormat('en', {
    timeZone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    timeZoneName: 'longOffset',
  });
  formats.set(timeZone, made);
  return made;
}

const DAY_MS = 86_400_000;

/**
 * Which hour, day, week, month and year a moment is in, by the clock on the wall there. Equal texts are the same one. The
 * hour that a zone repeats when its summer ends is two hours. Weeks begin on Monday (ISO 8601).
 */
export function periodsOf(moment: Date, timeZone: string): Readonly<Record<Rule, string>> {
  const parts = new Map(
    formatOf(timeZone)
      .formatToParts(moment)
      .map(({ type, value }) => [type, value]),
  );
  const part = (type: Intl.DateTimeFormatPartTypes): string => parts.get(type) ?? '';
  const months = `${part('year')}-${part('month')}`;
  const days = `${months}-${part('day')}`;
  const date = Date.UTC(Number(part('year')), Number(part('month')) - 1, Number(part('day')));
  const sinceMonday = (new Date(date).getUTCDay() + 6) % 7;
  return {
    hours: `${days} ${part('hour')} ${part('timeZoneName')}`,
    days,
    weeks: new Date(date - sinceMonday * DAY_MS).toISOString().slice(0, 10),
    months,
    years: part('year'),
  };
}

import { type FormerRetention, retention, type Retention, retentionNow } from '#contracts/archive';

/** What a span of time counts as, in each unit that points are counted by: a month has 31 days, so that none is cut short. */
const SPANS = {
  hour: { hours: 1 },
  day: { hours: 24, days: 1 },
  week: { hours: 168, days: 7, weeks: 1 },
  month: { hours: 744, days: 31, weeks: 5, months: 1 },
  year: { hours: 8_784, days: 366, weeks: 52, months: 12, years: 1 },
} as const;
type Span = keyof typeof SPANS;
const SPAN_NAMES = ['year', 'month', 'week', 'day', 'hour'] as const satisfies readonly Span[];

const RHYTHMS = [
  ['hourly', 'hours'],
  ['daily', 'days'],
  ['weekly', 'weeks'],
  ['monthly', 'months'],
  ['yearly', 'years'],
] as const satisfies readonly (readonly [string, keyof Retention])[];

const NUMBERS = 'no one two three four five six seven eight nine ten eleven twelve'.split(' ');

const CLAUSE = /^(hourly|daily|weekly|monthly|yearly|annually) for (\d{1,5}|[a-z]+) (hour|day|week|month|year)s?$/;

export const RETENTION_EXAMPLE = 'hourly for a day, daily for a month, monthly for seven years';

function countOf(word: string): number | undefined {
  if (/^\d+$/.test(word)) return Number(word);
  if (word === 'a' || word === 'an') return 1;
  const found = NUMBERS.indexOf(word);
  return found > 0 ? found : undefined;
}

/** How to say what is understood, or the numbers. */
export type Understood = { readonly retention: Retention } | { readonly problem: string };

/**
 * Reads a retention in the words that people use: `hourly for a day, daily for a month and monthly for seven years`. Each
 * rhythm once; a span counts in its rhythm's own unit, a month as 31 days and a year as 366.
 */
export function retentionFromWords(words: string): Understood {
  const clauses = words
    .toLowerCase()
    .trim()
    .replace(/\.$/, '')
    .split(/\s*(?:,\s*and\s|,|;|\sand\s)\s*/)
    .filter((clause) => clause !== '');
  const kept: Record<keyof Retention, number> = { hours: 0, days: 0, weeks: 0, months: 0, years: 0 };
  const said = new Set<string>();
  for (const clause of clauses) {
    const [, rhythm, number, span] = CLAUSE.exec(clause.replaceAll(/\s+/g, ' ').replace(/^and /, '')) ?? [];
    const unit = RHYTHMS.find(([name]) => name === (rhythm === 'annually' ? 'yearly' : rhythm))?.[1];
    const count = countOf(number ?? '');
    if (unit === undefined || span === undefined || count === undefined) {
      return { problem: `"${clause}" is not understood: say it like "${RETENTION_EXAMPLE}", or give numbers` };
    }
    const each = (SPANS[span as Span] as Partial<Record<keyof Retention, number>>)[unit];
    if (each === undefined) return { problem: `"${clause}": a ${span} is too short a time for this rhythm` };
    if (said.has(unit)) return { problem: `"${clause}": this rhythm is said twice` };
    said.add(unit);
    kept[unit] = each * count;
  }
  const checked = retention.safeParse(kept);
  if (checked.success) return { retention: checked.data };
  return { problem: checked.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`.trim()).join('; ') };
}

/** The same in words, which {@link retentionFromWords} reads as these numbers again. */
export function retentionInWords(kept: Retention): string {
  const clauses = RHYTHMS.flatMap(([rhythm, unit]) =>
    kept[unit] > 0 ? [`${rhythm} for ${spanInWords(unit, kept[unit])}`] : [],
  );
  return clauses.join(', ');
}

function spanInWords(unit: keyof Retention, count: number): string {
  for (const span of SPAN_NAMES) {
    const each = (SPANS[span] as Partial<Record<keyof Retention, number>>)[unit];
    if (each === undefined || count % each !== 0) continue;
    const spans = count / each;
    if (spans === 1) return `${span === 'hour' ? 'an' : 'a'} ${span}`;
    return `${NUMBERS[spans] ?? spans} ${span}s`;
  }
  return `${count} ${unit}`;
}

/**
 * What counts beside a new retention, and until when, so that nobody empties an archive by one request: whatever keeps less
 * takes hold only after the minimum age, counted from the change. Taken back before, it has changed nothing.
 */
export function formerAfter(
  before: { readonly policy: { readonly retention: Retention }; readonly formerRetention: FormerRetention | null },
  next: { readonly retention: Retention; readonly minimumAgeDays: number },
  now: Date,
): FormerRetention | null {
  const former = before.formerRetention;
  const counted = retentionNow(before.policy, former, now);
  if (!keepsLess(counted, next.retention)) return null;
  // Longer than what it was last, though still less than before that: what was said then goes on.
  if (former && !keepsLess(before.policy.retention, next.retention)) return former;
  return { retention: counted, until: new Date(now.getTime() + next.minimumAgeDays * 86_400_000).toISOString() };
}

/** Whether `next` keeps less than `before` by any of its rules. */
export const keepsLess = (before: Retention, next: Retention): boolean =>
  RHYTHMS.some(([, unit]) => next[unit] < before[unit]);

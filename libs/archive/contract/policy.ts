import { z } from 'zod';
import { text } from '#contracts/sites';
import { bytes, treePath } from './terms.js';

const clock = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time such as 22:30');
const weekday = z.enum(['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday']);
export const timeZone = z
  .string()
  .max(60)
  .refine((zone) => isTimeZone(zone), 'must be a time zone such as America/Los_Angeles');

/** When runs are due. Each archive is put off by a share of its own, so that an agency's archives do not all begin at once. */
export const schedule = z.discriminatedUnion('every', [
  z.strictObject({ every: z.literal('fifteen-minutes') }),
  z.strictObject({ every: z.literal('hour') }),
  z.strictObject({ every: z.literal('day'), at: clock }),
  z.strictObject({ every: z.literal('week'), on: weekday, at: clock }),
]);
export type Schedule = z.infer<typeof schedule>;

/**
 * How many recovery points are kept: of each of so many last hours, days, weeks, months and years, counted by the vault's
 * time of receipt, the newest one. What no rule keeps is forgotten once it is older than the minimum age.
 */
export const retention = z
  .strictObject({
    hours: z.number().int().min(0).max(8_784),
    days: z.number().int().min(0).max(3_660),
    weeks: z.number().int().min(0).max(520),
    months: z.number().int().min(0).max(240),
    years: z.number().int().min(0).max(50),
  })
  .refine((kept) => Object.values(kept).some((count) => count > 0), 'must keep something');
export type Retention = z.infer<typeof retention>;

/** What was kept before an archive was told to keep less: until then the longer of both counts, by each of the rules. */
export const formerRetention = z.strictObject({ retention, until: z.iso.datetime() });
export type FormerRetention = z.infer<typeof formerRetention>;

/** The longer of both by each of the rules: it keeps whatever one of the two keeps. */
export function longerRetention(one: Retention, other: Retention): Retention {
  return {
    hours: Math.max(one.hours, other.hours),
    days: Math.max(one.days, other.days),
    weeks: Math.max(one.weeks, other.weeks),
    months: Math.max(one.months, other.months),
    years: Math.max(one.years, other.years),
  };
}

/** What counts at this moment. */
export function retentionNow(
  policy: { readonly retention: Retention },
  former: FormerRetention | null,
  now: Date,
): Retention {
  if (former === null || new Date(former.until) <= now) return policy.retention;
  return longerRetention(policy.retention, former.retention);
}

/** A check that the agency wrote: a query of one database of a restored dump, and what its first column must be. */
export const agencyCheck = z.strictObject({
  name: text(100),
  database: z.string().min(1).max(63),
  sql: z.string().min(1).max(4_000),
  atLeast: z.number(),
});

/** Of a file, as a snapshot names it: no folder, and written in one way only. */
const canaryPath = treePath
  .max(1_000)
  .refine((path) => !/\/\/|\/\.(\/|$)|.\/$|^\/$/.test(path), 'must name a file, without // and /./');

export const archivePolicy = z.strictObject({
  schedule,
  timeZone,
  retention,
  /** Nothing is removed before it is so old; the vault holds that, not we. */
  minimumAgeDays: z.number().int().min(0).max(3_660),
  /** Patterns as restic's --exclude takes them. */
  excludes: z.array(z.string().min(1).max(1_000)).max(500),
  bandwidthBytesPerSecond: z.number().int().min(10_240).nullable(),
  /** In the archive's time zone; no scheduled run begins in it, and one that runs is paused to the limit given. */
  quietHours: z
    .strictObject({ from: clock, to: clock, bandwidthBytesPerSecond: z.number().int().min(10_240).nullable() })
    .nullable(),
  checks: z.array(agencyCheck).max(50),
  quotaBytes: bytes.min(1_048_576).nullable(),
  /** What the vault takes in for it in a second, and what it gives out, whoever asks from outside. No limit when left out. */
  rateBytesPerSecond: bytes.min(131_072).nullable().optional(),
  /** Of folders with an escrowed key: whether the newest point lies ready at the site as files. Yes when left out. */
  standingCopy: z.boolean().optional(),
  /** Of folders with an escrowed key: files that nobody changes, so a change of one of them says something. None when left out. */
  canaries: z
    .array(canaryPath)
    .max(32)
    .refine((paths) => new Set(paths).size === paths.length, 'must name each file once')
    .optional(),
});
export type ArchivePolicy = z.infer<typeof archivePolicy>;

function isTimeZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    // The only fault that it knows is a zone that it does not.
    return false;
  }
}

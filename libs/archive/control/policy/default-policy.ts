import type { ArchivePolicy, Retention } from '#contracts/archive';

/** "hourly for a day, daily for a month, monthly for seven years". */
export const DEFAULT_RETENTION: Retention = { hours: 24, days: 31, weeks: 0, months: 84, years: 0 };

/** What is wanted where nothing else is said: daily at 22:00, nothing removed in its first 30 days. */
export const defaultPolicy = (timeZone: string): ArchivePolicy => ({
  schedule: { every: 'day', at: '22:00' },
  timeZone,
  retention: DEFAULT_RETENTION,
  minimumAgeDays: 30,
  excludes: [],
  bandwidthBytesPerSecond: null,
  quietHours: null,
  checks: [],
  quotaBytes: null,
});

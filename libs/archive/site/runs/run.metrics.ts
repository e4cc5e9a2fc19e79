import { defineCounter, defineHistogram } from '#libs/platform/telemetry';

export const archiveRuns = defineCounter(
  'mainstay_archive_runs_total',
  'Archive runs that ended while this process ran, by outcome (completed, partial, failed, cancelled).',
  ['outcome'],
);
export const archiveRunSeconds = defineHistogram(
  'mainstay_archive_run_seconds',
  'From the beginning to the end of archive runs that left a recovery point.',
  [],
  [1, 10, 60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400],
);

import type { BackupWork } from './outcome.js';

/** Unfinished restores of ours lie beside what they will become. */
export const STAGING_PREFIX = '.mainstay-restore-';

/** What every backup of a workload is told. restic's rates are in KiB/s. */
export function backupArguments(name: string, { tags, limits, excludes }: BackupWork, part: string | null): string[] {
  const own = part === null ? [] : [`part:${part}`];
  return [
    'backup',
    `--host=${name}`,
    // A comma would part one tag into two.
    ...[...tags, ...own].map((tag) => `--tag=${tag.replaceAll(',', '_')}`),
    ...limitArguments(limits, ['upload']),
    ...excludes.map((pattern) => `--exclude=${pattern}`),
  ];
}

export function limitArguments(
  { bandwidthBytesPerSecond: limit }: BackupWork['limits'],
  ways: readonly ('upload' | 'download')[],
): string[] {
  if (limit === null) return [];
  return ways.map((way) => `--limit-${way}=${Math.max(1, Math.floor(limit / 1_024))}`);
}

/** A path as a pattern that fits nothing else. */
export function asPattern(path: string): string {
  return path.replaceAll(/[\\*?[\]]/g, String.raw`\$&`);
}

import path from 'node:path';
import { directoryUsage } from '#libs/sites/site/volume';
import type { StandbyUsage } from './driver.js';
import type { StandbyPaths } from './standby-paths.js';
import { loadState } from './standby-state.js';
import { listKeptWal } from './wal-keeping.js';

/** What a standby takes of the disk. */
export async function usageOf(paths: StandbyPaths): Promise<StandbyUsage> {
  const state = await loadState(paths.stateFile);
  // A kept segment that the server still has, too, is one file with two names: counted once, as data.
  const counted = new Set<string>();
  const dataBytes = await directoryUsage(paths.volume, counted);
  const walBytes = await directoryUsage(paths.wal, counted);
  const kept = await listKeptWal(path.join(paths.wal, state?.systemIdentifier ?? 'unknown'));
  return { dataBytes, walBytes, walSegments: kept.segments.length, walMissing: kept.missing.length };
}

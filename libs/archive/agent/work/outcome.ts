import { type ArchiveWork, FAULTS_TOLD, type Failure, type Progress, type WorkResult } from '#contracts/archive';
import { errorText } from '#libs/platform/errors';
import type { AgentWorkload, StateDirectory } from '#libs/sites/agent';
import { ArchiveWorkError } from '../errors.js';
import type { Repository } from '../restic/repository.js';

/** What came of a work, but for its times. */
export type Outcome = Omit<WorkResult, 'startedAt' | 'endedAt'>;

export const NOTHING: Omit<Outcome, 'state'> = {
  snapshots: [],
  filesRestored: 0,
  filesSkipped: 0,
  bytesRestored: 0,
  faultCount: 0,
  faults: [],
  removed: [],
  renamedCount: null,
  failure: null,
};

export type BackupWork = Extract<ArchiveWork, { kind: 'backup' }>;
export type RestoreWork = Extract<ArchiveWork, { kind: 'restore' }>;

export interface WorkSurroundings {
  readonly workId: string;
  readonly state: StateDirectory;
  /** Folders that agent.json allows for restores. */
  readonly restoreTo: readonly string[];
}

export interface WorkAtHand {
  readonly workload: AgentWorkload;
  readonly repository: Repository;
  readonly report: (progress: Progress) => void;
}

/** What could not be read or written: all counted, the first ones told. */
export class Faults {
  count = 0;
  readonly told: { path: string; what: string }[] = [];

  add(path: string, what: string): void {
    this.count += 1;
    if (this.told.length < FAULTS_TOLD) this.told.push({ path, what });
  }
}

export function failureOf(error: unknown): Failure {
  if (error instanceof ArchiveWorkError) return { code: error.code, message: error.message };
  return { code: 'archive.agent-failed', message: `The agent could not do it: ${errorText(error)}` };
}

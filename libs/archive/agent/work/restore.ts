import type { ArchiveWork } from '#contracts/archive';
import { ArchiveWorkError } from '../errors.js';
import type { WorkSurroundings } from './carry-out.js';
import type { Outcome, WorkAtHand } from './outcome.js';

export type RestoreWork = Extract<ArchiveWork, { kind: 'restore' }>;

export async function restore(_at: WorkAtHand, _work: RestoreWork, _in: WorkSurroundings): Promise<Outcome> {
  throw new ArchiveWorkError('not-yet', 'Restores are not there yet.');
}

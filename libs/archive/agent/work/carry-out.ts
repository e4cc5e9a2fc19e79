import type { ArchiveWork } from '#contracts/archive';
import { backup } from './backup.js';
import { checkPart, forgetSnapshots, tidyCopy } from './maintain.js';
import type { Outcome, WorkAtHand, WorkSurroundings } from './outcome.js';
import { restore } from './restore.js';
import { rotateKey } from './rotate-key.js';

/** @throws ArchiveWorkError, or the signal's reason when the work was cancelled */
export function carryOut(at: WorkAtHand, work: ArchiveWork, surroundings: WorkSurroundings): Promise<Outcome> {
  switch (work.kind) {
    case 'backup':
      return backup(at, work, surroundings.state);
    case 'restore':
      return restore(at, work, surroundings);
    case 'forget':
      return work.ofCopy === true ? tidyCopy(at, work.snapshotIds) : forgetSnapshots(at, work.snapshotIds);
    case 'check':
      return checkPart(at, work.part, work.of);
    case 'rotate':
      return rotateKey(at, work.rotationId, surroundings.state);
  }
}

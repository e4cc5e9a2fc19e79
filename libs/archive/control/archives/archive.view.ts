import { type ArchiveCondition, conditionOf } from './archive-conditions.js';
import { KEY_MODE_MEANS } from './key-modes.js';
import type { ArchiveRow } from './archive-store.js';
import { retentionInWords } from '../policy/retention-words.js';
import { scheduleInWords } from '../policy/schedule-words.js';

/** Of what the condition is made, and nothing else. */
type Measured = 'siteHeard' | 'agentGone' | 'copyBehind' | 'proofFailed';

export interface ArchiveView extends Omit<ArchiveRow, 'tenantId' | 'policy' | 'createdText' | Measured> {
  readonly condition: ArchiveCondition;
  readonly keyModeMeans: string;
  readonly policy: ArchiveRow['policy'];
  readonly scheduleInWords: string;
  readonly retentionInWords: string;
  /** From when on a retention that keeps less counts alone; null: it does. */
  readonly keepsLessFrom: string | null;
}

/** An archive as it is shown: with words beside the numbers, and its condition. */
export function viewOf(row: ArchiveRow): ArchiveView {
  const { policy, keyMode } = row;
  return {
    ...shown(row),
    condition: conditionOf(row),
    keyModeMeans: KEY_MODE_MEANS[keyMode],
    scheduleInWords: scheduleInWords(policy.schedule, policy.timeZone),
    retentionInWords: retentionInWords(policy.retention),
    keepsLessFrom: row.formerRetention?.until ?? null,
  };
}

const shown = ({
  createdText: _text,
  siteHeard: _heard,
  agentGone: _gone,
  copyBehind: _behind,
  proofFailed: _failed,
  ...archive
}: ArchiveRow): Omit<ArchiveRow, 'createdText' | Measured> => archive;

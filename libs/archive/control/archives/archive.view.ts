import type { ArchiveAlarm } from '#contracts/archive';
import { KEY_MODE_MEANS } from './key-modes.js';
import type { ArchiveRow } from './archive-store.js';
import { retentionInWords } from '../policy/retention-words.js';
import { scheduleInWords } from '../policy/schedule-words.js';

/** How an archive does now, as measured; the worst that is known of it. */
export const ARCHIVE_CONDITIONS = [
  'ended',
  'ending',
  'paused',
  'failed',
  'unknown',
  'attention',
  'late',
  'preparing',
  'ok',
] as const;
export type ArchiveCondition = (typeof ARCHIVE_CONDITIONS)[number];

export interface ArchiveView extends Omit<ArchiveRow, 'tenantId' | 'policy' | 'createdText' | 'siteHeard'> {
  readonly condition: ArchiveCondition;
  readonly keyModeMeans: string;
  readonly policy: ArchiveRow['policy'];
  readonly scheduleInWords: string;
  readonly retentionInWords: string;
}

/** An archive as it is shown: with words beside the numbers, and its condition. */
export function viewOf({ createdText: _text, siteHeard, ...archive }: ArchiveRow): ArchiveView {
  const { policy, keyMode } = archive;
  return {
    ...archive,
    condition: conditionOf(archive, siteHeard),
    keyModeMeans: KEY_MODE_MEANS[keyMode],
    scheduleInWords: scheduleInWords(policy.schedule, policy.timeZone),
    retentionInWords: retentionInWords(policy.retention),
  };
}

const ATTENTION_ALARMS: readonly ArchiveAlarm['code'][] = ['password-missing', 'check-failed', 'retention-failed'];

function conditionOf(archive: Omit<ArchiveRow, 'createdText' | 'siteHeard'>, siteHeard: boolean): ArchiveCondition {
  const { state, lastRun } = archive;
  if (state === 'ended' || state === 'ending') return state;
  if (state === 'failed') return 'failed';
  // What a silent site said last is not what is.
  const silent = archive.alarms.some(({ code }) => code === 'source-silent');
  if (!siteHeard || silent || lastRun?.state === 'unknown') return 'unknown';
  const damaged = archive.damaged.some(({ repaired }) => !repaired);
  const alarmed = archive.alarms.some(({ code }) => ATTENTION_ALARMS.includes(code));
  if (archive.openChanges > 0 || damaged || alarmed) return 'attention';
  if (archive.paused) return 'paused';
  if (archive.late) return 'late';
  if (lastRun?.state === 'failed' || lastRun?.state === 'partial') return 'attention';
  return archive.newestPointAt === null ? 'preparing' : 'ok';
}

import type { ArchiveAlarm } from '#contracts/archive';
import type { ArchiveRow } from './archive-store.js';

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

const alarmed = (...codes: readonly ArchiveAlarm['code'][]) =>
  ((archive) => archive.alarms.some(({ code }) => codes.includes(code))) satisfies Applies;

type Applies = (archive: ArchiveRow) => boolean;

/** The first that applies says it: what people asked for, what nobody can know, what is wrong, what is merely not so yet. */
const RULES: readonly (readonly [ArchiveCondition, Applies])[] = [
  ['ended', ({ state }) => state === 'ended'],
  ['ending', ({ state }) => state === 'ending'],
  ['failed', ({ state }) => state === 'failed'],
  // What a silent site said last is not what is.
  ['unknown', ({ siteHeard }) => !siteHeard],
  ['unknown', alarmed('source-silent')],
  ['unknown', ({ agentGone }) => agentGone],
  ['unknown', ({ lastRun }) => lastRun?.state === 'unknown'],
  ['attention', ({ openChanges }) => openChanges > 0],
  ['attention', ({ damaged }) => damaged.some(({ repaired }) => !repaired)],
  ['attention', alarmed('password-missing', 'check-failed', 'retention-failed', 'junk-objects')],
  ['attention', ({ proofFailed }) => proofFailed],
  ['attention', ({ copyBehind, copy }) => copyBehind || (copy !== null && copy.failure !== null)],
  ['paused', ({ paused }) => paused],
  ['late', ({ late }) => late],
  ['attention', ({ lastRun }) => lastRun?.state === 'failed' || lastRun?.state === 'partial'],
  ['preparing', ({ newestPointAt }) => newestPointAt === null],
];

export const conditionOf = (archive: ArchiveRow): ArchiveCondition =>
  RULES.find(([, applies]) => applies(archive))?.[0] ?? 'ok';

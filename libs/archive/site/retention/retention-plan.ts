import type { Retention } from '../../contract/policy.js';
import { periodsOf, RULES, type Rule } from './calendar.js';

/** What retention knows of a recovery point. What the client claims of its time is not among it. */
export interface RetentionPoint {
  readonly snapshotId: string;
  /** The run of ours that made it. Null: somebody with a credential did. */
  readonly runId: string | null;
  readonly receivedAt: Date;
  /** Whether its run stored all that it was to store. */
  readonly whole: boolean;
  readonly held: boolean;
  readonly pinned: boolean;
}

export interface RetentionTerms {
  readonly retention: Retention;
  /** In which hours, days and months are counted. */
  readonly timeZone: string;
  readonly minimumAgeSeconds: number;
  readonly now: Date;
}

export type KeptBecause = Rule | 'newest' | 'minimum-age' | 'held' | 'pinned';

export interface RetentionPlan {
  /** By snapshot: every reason. */
  readonly kept: ReadonlyMap<string, readonly KeptBecause[]>;
  readonly forgotten: readonly string[];
}

/** The parts of one run: brought back together, so kept or forgotten together. */
interface Moment {
  readonly points: readonly RetentionPoint[];
  /** When its last part had arrived. */
  readonly at: Date;
  readonly whole: boolean;
  readonly reasons: KeptBecause[];
}

/**
 * Which recovery points stay. Of each of the last so many hours (days, weeks, months, years) that have one at all, the
 * newest stays, a whole one rather than one that lacks something; so an archive whose source is silent does not shrink.
 *
 * Only the vault's times of receipt count, so a wrong clock at the agency, or a forged date, moves nothing. Points that no
 * run of ours made are counted on their own: whoever floods an archive with a stolen credential crowds out none of ours.
 */
export function planRetention(points: readonly RetentionPoint[], terms: RetentionTerms): RetentionPlan {
  const kept = new Map<string, readonly KeptBecause[]>();
  const forgotten: string[] = [];
  const ours = momentsOf(points.filter(({ runId }) => runId !== null));
  const strangers = momentsOf(points.filter(({ runId }) => runId === null));
  for (const moments of [ours, strangers]) applyRules(moments, terms);
  for (const moment of [...ours, ...strangers]) {
    addReasonsOfPoints(moment, terms);
    for (const { snapshotId } of moment.points) {
      if (moment.reasons.length > 0) kept.set(snapshotId, moment.reasons);
      else forgotten.push(snapshotId);
    }
  }
  return { kept, forgotten };
}

/** Newest first. */
function momentsOf(points: readonly RetentionPoint[]): Moment[] {
  const runs = new Map<string, RetentionPoint[]>();
  for (const point of points) {
    const run = point.runId ?? point.snapshotId;
    runs.set(run, [...(runs.get(run) ?? []), point]);
  }
  const moments = [...runs.values()].map((parts) => ({
    points: parts,
    at: new Date(Math.max(...parts.map(({ receivedAt }) => receivedAt.getTime()))),
    whole: parts.every(({ whole }) => whole),
    reasons: [],
  }));
  return moments.sort((a, b) => b.at.getTime() - a.at.getTime());
}

function applyRules(moments: readonly Moment[], { retention, timeZone }: RetentionTerms): void {
  moments[0]?.reasons.push('newest');
  // The newest that lacks something must not be the only one.
  const newestWhole = moments.find(({ whole }) => whole);
  if (newestWhole && newestWhole !== moments[0]) newestWhole.reasons.push('newest');
  const dated = moments.map((moment) => ({ moment, periods: periodsOf(moment.at, timeZone) }));
  for (const rule of RULES) {
    const chosen = new Map<string, Moment>();
    for (const { moment, periods } of dated) {
      const present = chosen.get(periods[rule]);
      if (present ? !present.whole && moment.whole : chosen.size < retention[rule]) chosen.set(periods[rule], moment);
    }
    for (const moment of chosen.values()) moment.reasons.push(rule);
  }
}

function addReasonsOfPoints({ points, at, reasons }: Moment, { now, minimumAgeSeconds }: RetentionTerms): void {
  if (points.some(({ held }) => held)) reasons.push('held');
  if (points.some(({ pinned }) => pinned)) reasons.push('pinned');
  // A time in the future is from before this machine's clock was set back: such a point is new, as the vault holds too.
  if ((now.getTime() - at.getTime()) / 1_000 < minimumAgeSeconds) reasons.push('minimum-age');
}

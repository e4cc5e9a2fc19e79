import { describe, expect, test } from 'vitest';
import type { Retention } from '../../contract/policy.js';
import { periodsOf, RULES } from './calendar.js';
import { planRetention, type RetentionPoint, type RetentionTerms } from './retention-plan.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = new Date('2026-11-20T20:00:00Z');
const NONE: Retention = { hours: 0, days: 0, weeks: 0, months: 0, years: 0 };

let seed = 7;
/** The same numbers in every run: a failure can be looked at. */
function random(below: number): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
}

const terms = (retention: Partial<Retention>, rest: Partial<RetentionTerms> = {}): RetentionTerms => ({
  retention: { ...NONE, ...retention },
  timeZone: 'America/Los_Angeles',
  minimumAgeSeconds: 0,
  now: NOW,
  ...rest,
});

let made = 0;
const point = (receivedAt: Date, rest: Partial<RetentionPoint> = {}): RetentionPoint => {
  made += 1;
  const snapshotId = made.toString(16).padStart(64, '0');
  return { snapshotId, runId: `run ${made}`, receivedAt, whole: true, held: false, pinned: false, ...rest };
};
const ago = (milliseconds: number): Date => new Date(NOW.getTime() - milliseconds);

/** Runs of one to three parts, over two years. */
const history = (runs: number, rest: Partial<RetentionPoint> = {}): RetentionPoint[] =>
  Array.from({ length: runs }, () => {
    const at = ago(random(730 * DAY));
    const whole = random(5) > 0;
    const runId = `run ${(made += 1)}`;
    return Array.from({ length: 1 + random(3) }, (_, part) =>
      point(new Date(at.getTime() + part * 60_000), { runId, whole, ...rest }),
    );
  }).flat();

const someTerms = (): RetentionTerms =>
  terms(
    { hours: random(30), days: random(20), weeks: random(10), months: random(10), years: 1 + random(3) },
    { minimumAgeSeconds: random(40) * 86_400 },
  );

describe('periods', () => {
  test('are those of the clock on the wall', () => {
    expect(periodsOf(new Date('2026-01-01T07:59:00Z'), 'America/Los_Angeles')).toMatchObject({
      days: '2025-12-31',
      weeks: '2025-12-29',
      months: '2025-12',
      years: '2025',
    });
    expect(periodsOf(new Date('2026-01-01T07:59:00Z'), 'Asia/Kathmandu').hours).toMatch(/^2026-01-01 13 /);
  });

  test('count the hour that the end of summer repeats twice, and no hour twice where it begins', () => {
    const hours = (from: string, count: number) =>
      new Set(
        Array.from(
          { length: count },
          (_, hour) => periodsOf(new Date(Date.parse(from) + hour * HOUR), 'America/Los_Angeles').hours,
        ),
      ).size;
    expect(hours('2026-11-01T00:30:00Z', 30)).toBe(30);
    expect(hours('2026-03-08T00:30:00Z', 30)).toBe(30);
  });
});

describe('the points that stay', () => {
  test('are the newest of each of the last so many periods that have one', () => {
    const hourly = Array.from({ length: 24 * 60 }, (_, hour) => point(ago(hour * HOUR)));
    const { kept, forgotten } = planRetention(hourly, terms({ hours: 24, days: 30 }));
    const days = hourly.filter(({ snapshotId }) => kept.get(snapshotId)?.includes('days'));
    expect(hourly.filter(({ snapshotId }) => kept.get(snapshotId)?.includes('hours'))).toEqual(hourly.slice(0, 24));
    expect(days).toHaveLength(30);
    expect(
      new Set(days.map(({ receivedAt }) => periodsOf(receivedAt, 'America/Los_Angeles').hours.slice(11, 13))),
    ).toEqual(new Set(['12', '23']));
    expect(kept.size + forgotten.length).toBe(hourly.length);
  });

  test('do not shrink while the source is silent', () => {
    const old = Array.from({ length: 10 }, (_, day) => point(ago((400 + day) * DAY)));
    const { kept } = planRetention(old, terms({ days: 7 }));
    expect([...kept.keys()]).toEqual(old.slice(0, 7).map(({ snapshotId }) => snapshotId));
  });

  test('are whole ones rather than such that lack something, and the last whole one stays', () => {
    const [partial, whole, older] = [point(ago(HOUR), { whole: false }), point(ago(2 * HOUR)), point(ago(3 * HOUR))];
    const { kept, forgotten } = planRetention([older, partial, whole], terms({ days: 1 }));
    expect(kept.get(whole.snapshotId)).toEqual(['newest', 'days']);
    expect(kept.get(partial.snapshotId)).toEqual(['newest']);
    expect(forgotten).toEqual([older.snapshotId]);
  });

  test('whatever the history: parts stay together, what is held, pinned or young stays, and each rule has its number', () => {
    for (let round = 0; round < 300; round += 1) {
      const points = history(1 + random(60)).map((each) => ({
        ...each,
        held: random(20) === 0,
        pinned: random(20) === 0,
      }));
      const some = someTerms();
      const { kept, forgotten } = planRetention(points, some);
      expect(new Set([...kept.keys(), ...forgotten]).size).toBe(points.length);
      const gone = new Set(forgotten);
      for (const each of points) {
        const together = points.filter(({ runId }) => runId === each.runId);
        expect(new Set(together.map(({ snapshotId }) => gone.has(snapshotId))).size).toBe(1);
        const young = NOW.getTime() - each.receivedAt.getTime() < some.minimumAgeSeconds * 1_000;
        if (each.held || each.pinned || young) expect(gone.has(each.snapshotId)).toBe(false);
      }
      for (const rule of RULES) {
        const periods = new Set(points.map(({ receivedAt }) => periodsOf(receivedAt, some.timeZone)[rule])).size;
        const runs = new Set(
          points.filter(({ snapshotId }) => kept.get(snapshotId)?.includes(rule)).map(({ runId }) => runId),
        );
        // A run's parts may lie on both sides of midnight.
        expect(runs.size).toBeGreaterThanOrEqual(Math.min(some.retention[rule], periods) - 1);
        expect(runs.size).toBeLessThanOrEqual(some.retention[rule]);
      }
    }
  });

  test('stay the same when it is planned again: forgetting what was forgotten changes nothing', () => {
    for (let round = 0; round < 100; round += 1) {
      const points = history(1 + random(60));
      const some = someTerms();
      const first = planRetention(points, some);
      const left = points.filter(({ snapshotId }) => first.kept.has(snapshotId));
      expect(planRetention(left, some).forgotten).toEqual([]);
    }
  });
});

describe('a thief of an append credential', () => {
  test('who floods the archive with points of any time crowds out none of ours', () => {
    for (let round = 0; round < 100; round += 1) {
      const ours = history(1 + random(60));
      const some = someTerms();
      const alone = planRetention(ours, some);
      const flood = Array.from({ length: 200 }, () => point(ago(random(2 * DAY)), { runId: null }));
      // As if the vault's own clock had been five years ahead for a while.
      const ahead = Array.from({ length: 50 }, () => point(ago(-random(5 * 365 * DAY)), { runId: null }));
      const flooded = planRetention([...flood, ...ours, ...ahead], some);
      for (const { snapshotId } of ours) expect(flooded.kept.get(snapshotId)).toEqual(alone.kept.get(snapshotId));
    }
  });
});

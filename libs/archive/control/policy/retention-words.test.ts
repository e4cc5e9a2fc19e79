import { describe, expect, it } from 'vitest';
import { type Retention, retentionNow } from '#contracts/archive';
import { DEFAULT_RETENTION } from './default-policy.js';
import { formerAfter, keepsLess, RETENTION_EXAMPLE, retentionFromWords, retentionInWords } from './retention-words.js';
import { timeZoneOfState } from './time-zones.js';

const none: Retention = { hours: 0, days: 0, weeks: 0, months: 0, years: 0 };

describe('retention in the words that people use', () => {
  it('is read as people mean it', () => {
    expect(retentionFromWords(RETENTION_EXAMPLE)).toEqual({ retention: DEFAULT_RETENTION });
    const same = { retention: { ...none, hours: 48, days: 14, months: 84 } };
    expect(retentionFromWords('Hourly for two days, daily for 2 weeks, and monthly for 7 years.')).toEqual(same);
    expect(retentionFromWords('hourly for 48 hours and daily for 14 days and monthly for 84 months')).toEqual(same);
    expect(retentionFromWords('annually for ten years')).toEqual({ retention: { ...none, years: 10 } });
  });

  it('says what is not understood, and what is too much, too short or said twice', () => {
    for (const [words, why] of [
      ['for ever', 'not understood'],
      ['daily for some days', 'not understood'],
      ['', 'must keep something'],
      ['monthly for a week', 'too short'],
      ['daily for a week, daily for a month', 'said twice'],
      ['daily for ninety years', 'not understood'],
      ['monthly for 90 years', 'months'],
      ['yearly for 99999 years', 'years'],
    ]) {
      expect(retentionFromWords(words!), words).toEqual({ problem: expect.stringContaining(why!) });
    }
  });

  it('goes into words and back as the same numbers, whatever they are', () => {
    expect(retentionInWords(DEFAULT_RETENTION)).toBe(RETENTION_EXAMPLE);
    const most: Retention = { hours: 8_784, days: 3_660, weeks: 520, months: 240, years: 50 };
    for (const unit of Object.keys(most) as (keyof Retention)[]) {
      for (let count = 1; count <= most[unit]; count += 1) {
        const kept = { ...none, [unit]: count };
        expect(retentionFromWords(retentionInWords(kept))).toEqual({ retention: kept });
      }
    }
  });

  it('knows when less is kept', () => {
    expect(keepsLess(DEFAULT_RETENTION, { ...DEFAULT_RETENTION, days: 30 })).toBe(true);
    expect(keepsLess(DEFAULT_RETENTION, { ...DEFAULT_RETENTION, weeks: 3 })).toBe(false);
  });
});

it('a state has the time zone of most of its people, and an unknown one none', () => {
  expect([timeZoneOfState('WA'), timeZoneOfState('VT'), timeZoneOfState('XX'), timeZoneOfState(undefined)]).toEqual([
    'America/Los_Angeles',
    'America/New_York',
    'UTC',
    'UTC',
  ]);
});

describe('a retention that keeps less', () => {
  const now = new Date('2026-11-20T00:00:00.000Z');
  const later = (days: number) => new Date(now.getTime() + days * 86_400_000);
  const long = { ...none, days: 31, years: 7 };
  const shorter = { ...none, hours: 48, days: 7 };
  const shortest = { ...none, days: 1 };
  const set = (before: Parameters<typeof formerAfter>[0], retention: Retention, at = now) => {
    const formerRetention = formerAfter(before, { retention, minimumAgeDays: 30 }, at);
    return { policy: { retention }, formerRetention };
  };
  const start = { policy: { retention: long }, formerRetention: null };

  it('counts alone only after the minimum age; until then the longer of both does', () => {
    const once = set(start, shorter);
    expect(once.formerRetention).toEqual({ retention: long, until: later(30).toISOString() });
    expect(retentionNow(once.policy, once.formerRetention, later(29))).toEqual({
      ...none,
      hours: 48,
      days: 31,
      years: 7,
    });
    expect(retentionNow(once.policy, once.formerRetention, later(30))).toEqual(shorter);
  });

  it('shortened again begins to wait anew, with all that still counts; partly taken back does not', () => {
    const once = set(start, shorter);
    const twice = set(once, shortest, later(10));
    const all = { ...none, hours: 48, days: 31, years: 7 };
    expect(twice.formerRetention).toEqual({ retention: all, until: later(40).toISOString() });
    expect(set(once, { ...shorter, days: 14 }, later(10)).formerRetention).toEqual(once.formerRetention);
    expect(set(once, { ...long, hours: 48 }, later(10)).formerRetention).toBeNull();
    expect(set(once, long, later(10)).formerRetention).toEqual(
      expect.objectContaining({ until: later(40).toISOString() }),
    );
  });
});

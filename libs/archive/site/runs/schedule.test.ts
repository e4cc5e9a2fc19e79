import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Schedule } from '#contracts/archive';
import { afterQuiet, bandwidthAt, isQuiet, nextDue, periodOf, type Timing } from './schedule.js';

/** An archive whose share is almost 0: SHA-256 of it begins with 0000. Found once by trying. */
const FIRST = firstShare();
const LOS_ANGELES = 'America/Los_Angeles';

function firstShare(): string {
  for (;;) {
    const id = randomUUID();
    const due = nextDue(timing({ every: 'hour' }, 'UTC'), id, new Date('2026-01-01T00:00:00Z'));
    // The share of an hour is what is over; less than a second of it.
    if (due.getUTCMinutes() === 0 && due.getUTCSeconds() < 4) return id;
  }
}

function timing(schedule: Schedule, timeZone: string, quiet?: [from: string, to: string]): Timing {
  const quietHours = quiet ? { from: quiet[0], to: quiet[1], bandwidthBytesPerSecond: null } : null;
  return { schedule, timeZone, quietHours };
}

/** To the minute: the archive's share is a few seconds. */
const minute = (at: Date) => `${at.toISOString().slice(0, 16)}Z`;

describe('when the next run is due', () => {
  const day = (at: string): Schedule => ({ every: 'day', at });
  test.each<
    [why: string, schedule: Schedule, zone: string, quiet: [string, string] | undefined, after: string, due: string]
  >([
    [
      'every fifteen minutes',
      { every: 'fifteen-minutes' },
      'UTC',
      undefined,
      '2026-05-01T10:01:00Z',
      '2026-05-01T10:15Z',
    ],
    [
      'every hour, where hours begin at the half',
      { every: 'hour' },
      'Asia/Kolkata',
      undefined,
      '2026-05-01T10:01:00Z',
      '2026-05-01T11:00Z',
    ],
    ['a time of day still to come', day('22:30'), LOS_ANGELES, undefined, '2026-05-01T20:00:00Z', '2026-05-02T05:30Z'],
    ['a time of day that has been', day('22:30'), LOS_ANGELES, undefined, '2026-05-02T05:31:00Z', '2026-05-03T05:30Z'],
    [
      'after years of silence: once, not once for each',
      day('22:30'),
      LOS_ANGELES,
      undefined,
      '2030-05-02T05:31:00Z',
      '2030-05-03T05:30Z',
    ],
    [
      'a weekday',
      { every: 'week', on: 'sunday', at: '03:00' },
      LOS_ANGELES,
      undefined,
      '2026-05-04T00:00:00Z',
      '2026-05-10T10:00Z',
    ],
    [
      'a weekday that is today there and tomorrow in UTC',
      { every: 'week', on: 'saturday', at: '20:00' },
      LOS_ANGELES,
      undefined,
      '2026-05-03T00:00:00Z',
      '2026-05-03T03:00Z',
    ],
    ['the offset of winter', day('12:00'), LOS_ANGELES, undefined, '2026-12-01T00:00:00Z', '2026-12-01T20:00Z'],
    [
      'the day of the change to summer, a time that it skips',
      day('02:30'),
      LOS_ANGELES,
      undefined,
      '2026-03-08T00:00:00Z',
      '2026-03-08T10:30Z',
    ],
    ['the day after it', day('02:30'), LOS_ANGELES, undefined, '2026-03-08T10:31:00Z', '2026-03-09T09:30Z'],
    [
      'the change to winter, a time that comes twice: the first',
      day('01:30'),
      LOS_ANGELES,
      undefined,
      '2026-11-01T00:00:00Z',
      '2026-11-01T08:30Z',
    ],
    ['and not the second', day('01:30'), LOS_ANGELES, undefined, '2026-11-01T08:31:00Z', '2026-11-02T09:30Z'],
    [
      'a change by half an hour',
      day('02:15'),
      'Australia/Lord_Howe',
      undefined,
      '2026-10-03T00:00:00Z',
      '2026-10-03T15:45Z',
    ],
    [
      'midnight, where the change is at midnight',
      day('00:00'),
      'America/Havana',
      undefined,
      '2026-03-07T12:00:00Z',
      '2026-03-08T05:00Z',
    ],
    [
      'in the quiet hours: at their end',
      { every: 'hour' },
      'UTC',
      ['08:00', '18:00'],
      '2026-05-01T07:30:00Z',
      '2026-05-01T18:00Z',
    ],
    [
      'once at their end, then as usual',
      { every: 'hour' },
      'UTC',
      ['08:00', '18:00'],
      '2026-05-01T18:00:30Z',
      '2026-05-01T19:00Z',
    ],
    ['quiet hours over midnight', day('23:00'), 'UTC', ['22:00', '06:00'], '2026-05-01T12:00:00Z', '2026-05-02T06:00Z'],
    [
      'quiet hours over midnight, after it',
      day('03:00'),
      'UTC',
      ['22:00', '06:00'],
      '2026-05-01T12:00:00Z',
      '2026-05-02T06:00Z',
    ],
    [
      'quiet hours that end in the skipped hour',
      day('01:00'),
      LOS_ANGELES,
      ['00:00', '02:30'],
      '2026-03-08T07:00:00Z',
      '2026-03-08T10:30Z',
    ],
    [
      'quiet hours that do not last',
      day('09:00'),
      'UTC',
      ['08:00', '08:00'],
      '2026-05-01T00:00:00Z',
      '2026-05-01T09:00Z',
    ],
  ])('%s', (_why, schedule, zone, quiet, after, due) => {
    expect(minute(nextDue(timing(schedule, zone, quiet), FIRST, new Date(after)))).toBe(due);
  });

  test('comes once a day through a year of every zone, whatever their clocks do', () => {
    for (const zone of [LOS_ANGELES, 'Europe/Berlin', 'Australia/Lord_Howe', 'America/Havana', 'Asia/Kathmandu']) {
      for (const at of ['00:00', '01:30', '02:30', '23:45']) {
        const daily = timing({ every: 'day', at }, zone);
        let last = new Date('2026-01-01T12:00:00Z');
        for (let days = 0; days < 365; days += 1) {
          const next = nextDue(daily, FIRST, last);
          const hours = (next.getTime() - last.getTime()) / 3_600_000;
          if (days > 0) expect(hours, `${zone} ${at} ${next.toISOString()}`).toBeGreaterThanOrEqual(22.9);
          expect(hours, `${zone} ${at} ${next.toISOString()}`).toBeLessThanOrEqual(36);
          last = next;
        }
        expect(Math.abs(last.getTime() - Date.parse('2027-01-01T00:00:00Z'))).toBeLessThan(2 * 86_400_000);
      }
    }
  });

  test('is spread over archives, and the same for one', () => {
    const hourly = timing({ every: 'hour' }, 'UTC');
    const after = new Date('2026-05-01T10:00:00Z');
    const ids = Array.from({ length: 1_000 }, () => randomUUID());
    const quarters = [0, 0, 0, 0];
    for (const id of ids) {
      const due = nextDue(hourly, id, after);
      expect(nextDue(hourly, id, after)).toEqual(due);
      const quarter = Math.floor(((due.getTime() - after.getTime()) / 3_600_000) * 4) % 4;
      quarters[quarter] = (quarters[quarter] ?? 0) + 1;
    }
    for (const count of quarters) expect(count).toBeGreaterThan(150);
  });

  test('is always later, and never quiet', () => {
    for (let turn = 0; turn < 500; turn += 1) {
      const schedule =
        ([{ every: 'fifteen-minutes' }, { every: 'hour' }, day('03:00')] as const)[turn % 3] ?? day('1:00');
      const hours = timing(schedule, LOS_ANGELES, turn % 2 ? ['21:00', '05:15'] : ['00:10', '00:00']);
      const after = new Date(Date.parse('2026-03-07T00:00:00Z') + turn * 1_234_567);
      const due = nextDue(hours, randomUUID(), after);
      expect(due.getTime()).toBeGreaterThan(after.getTime());
      expect(isQuiet(hours, due), due.toISOString()).toBe(false);
    }
  });
});

test('a first run begins at once, unless it is quiet', () => {
  const quiet = timing({ every: 'hour' }, 'UTC', ['08:00', '18:00']);
  expect(afterQuiet(quiet, FIRST, new Date('2026-05-01T07:00:00Z'))).toEqual(new Date('2026-05-01T07:00:00Z'));
  expect(minute(afterQuiet(quiet, FIRST, new Date('2026-05-01T09:00:00Z')))).toBe('2026-05-01T18:00Z');
});

test.each([
  [null, null, null],
  [1_000_000, null, 1_000_000],
  [null, 50_000, 50_000],
  [1_000_000, 50_000, 50_000],
  [20_000, 50_000, 20_000],
])('a limit of %s a second, and of %s in quiet hours, is %s in them', (usual, inQuiet, limit) => {
  const quietHours = { from: '08:00', to: '18:00', bandwidthBytesPerSecond: inQuiet };
  const policy = { schedule: { every: 'hour' }, timeZone: 'UTC', quietHours, bandwidthBytesPerSecond: usual } as const;
  expect(bandwidthAt(policy, new Date('2026-05-01T09:00:00Z'))).toBe(limit);
  expect(bandwidthAt(policy, new Date('2026-05-01T19:00:00Z'))).toBe(usual);
});

test('periods are told in milliseconds', () => {
  expect(periodOf({ every: 'week', on: 'monday', at: '01:00' })).toBe(604_800_000);
});

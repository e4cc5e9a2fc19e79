import { describe, expect, test } from 'vitest';
import type { PulseWorkload } from '#contracts/replication';
import type { LeaseState, SourceReport } from '#libs/replication/site';
import { decideLoss, isWorse, lossAfterFence, type LossEvidence } from './loss.js';

const until = new Date('2026-03-01T03:00:10Z');
const lease = (over: Partial<LeaseState> = {}): LeaseState => ({
  armed: true,
  secondsLeft: 8,
  since: new Date('2026-03-01T00:00:00Z'),
  armedUntil: until,
  endedBecause: null,
  everArmed: true,
  disarmedAtLsn: null,
  disarmedAt: null,
  degradeSecondsLeft: 0,
  refused: true,
  refusedSeconds: 1,
  strictConfirmed: true,
  epoch: 1,
  ...over,
});
const heard = (lsn: string, ageSeconds = 1): SourceReport => ({
  receivedAt: until,
  ageSeconds,
  lsn,
  report: { lsn } as PulseWorkload,
  contrary: { metro: null, regional: null },
});
const evidence = (over: Partial<LossEvidence> = {}): LossEvidence => ({
  role: 'metro',
  mode: 'strict',
  lease: lease(),
  noDegradeGranted: true,
  report: undefined,
  ownLsn: '0/3000000',
  ...over,
});
/** A regional site that was never the synchronous one. */
const never = lease({
  armed: false,
  secondsLeft: 0,
  since: null,
  armedUntil: null,
  everArmed: false,
  strictConfirmed: false,
});
const ranOut = lease({ armed: false, secondsLeft: 0, endedBecause: 'ran-out' });

describe.each(['metro', 'regional'] as const)('the %s site, as the synchronous one', (role) => {
  const other = role === 'metro' ? 'regional' : 'metro';
  const by = (over: Partial<LossEvidence> = {}) => decideLoss(evidence({ role, ...over }));

  test('claims nothing lost inside its lease, and in strict mode beyond it where nobody could have let production go on', () => {
    expect(by()).toMatchObject({ loss: { kind: 'none' }, until: null });
    expect(by({ mode: 'available' })).toMatchObject({ loss: { kind: 'none' }, until });
    expect(by({ noDegradeGranted: false })).toMatchObject({ loss: { kind: 'none' }, until });
    expect(by({ lease: ranOut })).toMatchObject({ loss: { kind: 'none' }, until: null });
    for (const over of [
      { mode: 'available' as const },
      { noDegradeGranted: false },
      { lease: { ...ranOut, endedBecause: 'answered-not-armed' as const } },
      { lease: { ...ranOut, endedBecause: 'degraded' as const } },
      { lease: { ...ranOut, strictConfirmed: false } },
      { lease: never },
    ]) {
      expect(by({ lease: ranOut, ...over }).loss.kind).toBe('unknown');
    }
  });

  test('claims nothing once it has recorded that production goes on without it, or was told so', () => {
    expect(by({ lease: lease({ disarmedAtLsn: '0/2000000' }) }).loss.kind).toBe('unknown');
    expect(by({ lease: { ...ranOut, disarmedAt: until } }).loss.kind).toBe('unknown');
    const said = { what: `the ${role} site is not the synchronous one`, secondsAgo: 2 };
    const against = (whom: 'metro' | 'regional') => ({
      ...heard('0/3000000'),
      contrary: { metro: null, regional: null, [whom]: said },
    });
    expect(by({ report: against(role) }).loss).toMatchObject({ kind: 'unknown' });
    // What speaks against the other site's claim does not speak against this one's.
    expect(by({ report: against(other) }).loss).toMatchObject({ kind: 'none' });
  });
});

test('a regional site that was never the synchronous one claims nothing', () => {
  expect(decideLoss(evidence({ role: 'regional', lease: never })).loss).toMatchObject({
    kind: 'unknown',
    why: expect.stringContaining('after production has acknowledged') as string,
  });
});

test('what was recorded as asynchronous is never called lossless, armed or not', () => {
  const disarmed = lease({ disarmedAtLsn: '0/2000000' });
  expect(decideLoss(evidence({ lease: disarmed })).loss.kind).toBe('unknown');
  const unplaced = lease({ disarmedAt: until });
  expect(decideLoss(evidence({ lease: unplaced })).loss.kind).toBe('unknown');
  const said = { what: 'no site is listed', secondsAgo: 2 };
  const cleared = { ...heard('0/3000000'), contrary: { metro: said, regional: null } };
  expect(decideLoss(evidence({ report: cleared })).loss.kind).toBe('unknown');
});

test('a bound is what the source last said, as long as it has just said it; having all of that is no proof', () => {
  const regional = { role: 'regional' as const, lease: never };
  expect(decideLoss(evidence({ ...regional, report: heard('0/3000400') })).loss).toMatchObject({
    kind: 'bounded',
    bytes: 1024,
  });
  expect(decideLoss(evidence({ ...regional, report: heard('0/3000000') })).loss).toMatchObject({
    kind: 'unknown',
    bytes: null,
  });
  expect(decideLoss(evidence({ ...regional, report: heard('0/3000400', 60) })).loss.kind).toBe('unknown');
  const down = { ...heard('0/3000400'), report: { lsn: null } as PulseWorkload };
  expect(decideLoss(evidence({ ...regional, report: down })).loss.kind).toBe('unknown');
});

test('a server that was stopped cleanly proves what there is', () => {
  expect(lossAfterFence('0/3000028', '0/30000A0').kind).toBe('none');
  expect(lossAfterFence('0/3000400', '0/3000000')).toMatchObject({ kind: 'bounded', bytes: 1024 });
});

test('a person is asked exactly when it is more than was accepted', () => {
  const bounded = (bytes: number) => ({ kind: 'bounded' as const, bytes, why: '' });
  const unknown = { kind: 'unknown' as const, bytes: null, why: '' };
  expect(isWorse({ kind: 'none', bytes: 0, why: '' }, { kind: 'none' })).toBe(false);
  expect(isWorse(bounded(1), { kind: 'none' })).toBe(true);
  expect(isWorse(bounded(10), { kind: 'bounded', bytes: 10 })).toBe(false);
  expect(isWorse(bounded(11), { kind: 'bounded', bytes: 10 })).toBe(true);
  expect(isWorse(unknown, { kind: 'bounded', bytes: 10 ** 9 })).toBe(true);
  expect(isWorse(unknown, { kind: 'unknown' })).toBe(false);
});

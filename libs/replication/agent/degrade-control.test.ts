import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { TEST_NAMES } from '#test/agency';
import { DegradeControl, type DegradeInput } from './degrade-control.js';
import { PROMISE_MS } from './promise.js';
import type { PulseEntry } from './protected-workload.js';

const entry = (over: Partial<PulseEntry> = {}): PulseEntry => ({
  workloadId: randomUUID(),
  name: 'permits',
  role: 'metro',
  mode: 'strict',
  epoch: 1,
  names: TEST_NAMES,
  promotedAtLsn: null,
  promotedTimeline: null,
  refuseLease: false,
  disarmed: null,
  rearm: false,
  rebootUntil: null,
  ...over,
});

/** Nobody streams, and has not for long. */
const alone = (now: number, over: Partial<DegradeInput> = {}): DegradeInput => ({
  now,
  mode: 'strict',
  lsn: '0/3000000',
  stalledMs: 60_000,
  metro: undefined,
  metroInOrder: false,
  applicable: true,
  ...over,
});

const control = () => new DegradeControl(0, () => new Date(0));

test('a grant counts from the answer before the pulse that brought it, however late that pulse is read', () => {
  const disarmed = { requestId: randomUUID(), leaseSeconds: 10 };
  const decider = control();
  decider.hearMetro(entry({ disarmed }), undefined, { now: 20_000, answeredAt: decider.lastAnswer('metro') });
  expect(decider.decide(alone(20_000)).receiverForMs).toBeNull();
  decider.answered('metro', 20_000);
  decider.answered('regional', 28_000);
  // Frozen for seven seconds with the pulse in its buffer: the site has counted on.
  decider.hearMetro(entry({ disarmed }), undefined, { now: 27_000, answeredAt: decider.lastAnswer('metro') });
  expect(decider.decide(alone(27_000)).receiverForMs).toBe(3_000);
  expect(decider.decide(alone(30_000)).receiverForMs).toBeNull();
  decider.hearMetro(entry({ disarmed }), undefined, { now: 31_000, answeredAt: decider.lastAnswer('metro') });
  expect(decider.decide(alone(31_000)).receiverForMs).toBeNull();
});

test('each site takes back its own refusal only, and takes it back by itself', () => {
  const decider = control();
  const hear = (over: Partial<PulseEntry>) => {
    const pulse = entry({ mode: 'available', ...over });
    const heard = { now: 1_000, answeredAt: 1_000 };
    if (pulse.role === 'metro') decider.hearMetro(pulse, undefined, heard);
    else decider.hearOther(pulse, undefined, heard);
  };
  const later = alone(1_000 + PROMISE_MS, { mode: 'available' });
  hear({ role: 'regional', refuseLease: true });
  hear({ disarmed: { requestId: randomUUID(), leaseSeconds: 60 } });
  expect(decider.decide(later).receiverForMs).toBeNull();
  hear({ refuseLease: true });
  hear({ role: 'regional' });
  expect(decider.decide(later).receiverForMs).toBeNull();
  hear({});
  expect(decider.decide(later).receiverForMs).toBe(10_000);
});

test("the control plane's own grant counts only while the metro is silent and unbound, and until it is taken back", () => {
  const start = PROMISE_MS;
  const requestId = randomUUID();
  const offered = { requestId, until: start + 60_000 };
  const decider = control();
  const left = (now: number) => decider.decide(alone(now)).receiverForMs;
  decider.hearControlPlane(offered);
  // What may have been promised before this process began still binds.
  expect(left(start - 1)).toBeNull();
  expect(decider.decide(alone(start, { stalledMs: 0 })).receiverForMs).toBeNull();
  expect(left(start)).toBe(60_000);
  decider.hearMetro(entry(), undefined, { now: start + 1_000, answeredAt: start });
  expect(left(start + 2_000)).toBeNull();
  expect(left(start + 5_000)).toBe(55_000);
  decider.hearControlPlane(null);
  expect(left(start + 6_000)).toBeNull();

  const next = { ...offered, requestId: randomUUID() };
  decider.hearControlPlane(next);
  decider.hearOther(entry({ role: 'regional', refuseLease: true }), undefined, { now: start, answeredAt: start });
  expect(left(start + 7_000)).toBeNull();
  decider.hearOther(entry({ role: 'regional' }), undefined, { now: start, answeredAt: start });
  expect(left(start + 8_000)).toBe(52_000);
  expect(left(start + 60_000)).toBeNull();

  // Armed in between: what was granted before is used up.
  const last = { requestId: randomUUID(), until: start + 600_000 };
  decider.hearControlPlane(last);
  decider.promiseArmed(start + 61_000);
  decider.hearControlPlane(last);
  expect(left(start + 100_000)).toBeNull();
});

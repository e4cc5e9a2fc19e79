import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { DurableValue } from '#libs/sites/agent';
import { pulseEntry as entry } from '#test/pulse';
import { DegradeControl, type DegradeInput, type Heard } from './degrade-control.js';
import { grantsRecord, KeptGrants } from './kept-grants.js';
import { PROMISE_MS } from './promise.js';
import type { PulseEntry } from './fencing.js';

/** Nobody streams, and has not for long. */
const alone = (now: number, over: Partial<DegradeInput> = {}): DegradeInput => ({
  now,
  mode: 'strict',
  lsn: '0/3000000',
  stalledMs: 60_000,
  leader: 'metro',
  sender: undefined,
  inOrder: false,
  otherNear: false,
  applicable: true,
  ...over,
});

const heard = (now: number, answeredAt: number | undefined, leader: Heard['leader'] = 'metro'): Heard => ({
  now,
  answeredAt,
  leader,
  sender: undefined,
});

const unwritten = () => new DurableValue(path.join(tmpdir(), `mainstay-${randomUUID()}`, 'grants.json'), grantsRecord);
const control = (kept = new KeptGrants(unwritten())) => new DegradeControl(0, () => new Date(0), kept);

test('a grant counts from the answer before the pulse that brought it, however late that pulse is read', () => {
  const disarmed = { requestId: randomUUID(), leaseSeconds: 10 };
  const decider = control();
  decider.hear(entry({ disarmed }), heard(20_000, decider.lastAnswer('metro')));
  expect(decider.decide(alone(20_000)).receiverForMs).toBeNull();
  decider.answered('metro', 20_000);
  decider.answered('regional', 28_000);
  // Frozen for seven seconds with the pulse in its buffer: the site has counted on.
  decider.hear(entry({ disarmed }), heard(27_000, decider.lastAnswer('metro')));
  expect(decider.decide(alone(27_000)).receiverForMs).toBe(3_000);
  expect(decider.decide(alone(30_000)).receiverForMs).toBeNull();
  decider.hear(entry({ disarmed }), heard(31_000, decider.lastAnswer('metro')));
  expect(decider.decide(alone(31_000)).receiverForMs).toBeNull();
});

test('each site takes back its own refusal only, and takes it back by itself', () => {
  const decider = control();
  const hear = (over: Partial<PulseEntry>) => {
    decider.hear(entry({ mode: 'available', ...over }), heard(1_000, 1_000));
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
  decider.hear(entry(), heard(start + 1_000, start));
  expect(left(start + 2_000)).toBeNull();
  expect(left(start + 5_000)).toBe(55_000);
  decider.hearControlPlane(null);
  expect(left(start + 6_000)).toBeNull();

  const next = { ...offered, requestId: randomUUID() };
  decider.hearControlPlane(next);
  decider.hear(entry({ role: 'regional', refuseLease: true }), heard(start, start));
  expect(left(start + 7_000)).toBeNull();
  decider.hear(entry({ role: 'regional' }), heard(start, start));
  expect(left(start + 8_000)).toBe(52_000);
  expect(left(start + 60_000)).toBeNull();

  // Armed in between: what was granted before is used up.
  const last = { requestId: randomUUID(), until: start + 600_000 };
  decider.hearControlPlane(last);
  decider.promiseArmed('metro', start + 61_000);
  decider.hearControlPlane(last);
  expect(left(start + 100_000)).toBeNull();
});

const sender = (pid: number) =>
  ({ pid, application: 'a', user: 'u', state: 'streaming', sync: 'sync', flush: '0/3000000', repliedAt: '1' }) as const;

test.each(['metro', 'regional'] as const)(
  'the %s site leads: its own word counts at once, the other one only passes on what the control plane keeps, once it is silent and unbound',
  (leader) => {
    const other = leader === 'metro' ? 'regional' : 'metro';
    const decider = control();
    const left = (now: number) => decider.decide(alone(now, { leader })).receiverForMs;
    const disarmed = { requestId: randomUUID(), leaseSeconds: 30 };
    decider.promiseArmed(leader, 20_000);
    decider.hear(entry({ role: other, disarmed: { ...disarmed, byOrder: true } }), heard(21_000, 20_500, leader));
    expect(left(21_000)).toBeNull();
    decider.hear(entry({ role: leader, disarmed }), heard(21_000, 20_500, leader));
    expect(left(21_000)).toBe(29_500);
    // It no longer stands by it.
    decider.hear(entry({ role: leader }), heard(22_000, 21_500, leader));
    expect(left(22_000)).toBeNull();

    const past = 22_000 + PROMISE_MS;
    const next = { requestId: randomUUID(), leaseSeconds: 30 };
    // The other site's own word, as it gives one for a pause of its own.
    decider.hear(entry({ role: other, disarmed: next }), heard(past, past, leader));
    expect(left(past)).toBeNull();
    decider.hear(entry({ role: other, disarmed: { ...next, byOrder: true } }), heard(past, past, leader));
    expect(left(past)).toBe(30_000);
    // Of a server whose leader is not known nothing is believed.
    const unknown = control();
    unknown.hear(entry({ role: leader, disarmed }), { ...heard(past, past), leader: undefined });
    expect(unknown.decide(alone(past, { leader })).receiverForMs).toBeNull();
    // What let production go on without one site lets nobody go on without the other.
    expect(decider.decide(alone(past, { leader: other })).receiverForMs).toBeNull();
  },
);

test('a grant passed on before the leader was told that it is armed moves nothing once that is silent; its own record does', () => {
  const passedOn = { requestId: randomUUID(), leaseSeconds: 3_600, to: 'metro' as const, byOrder: true };
  const decider = control();
  const hear = (now: number, disarmed: PulseEntry['disarmed']) => {
    decider.hear(entry({ disarmed }), heard(now, now - 500, 'regional'));
  };
  const moveTo = (now: number) =>
    decider.decide(alone(now, { leader: 'regional', stalledMs: 60_000, otherNear: true })).moveTo;
  decider.hear(entry({ role: 'regional' }), heard(20_000, 19_500, 'regional'));
  hear(20_000, passedOn);
  decider.promiseArmed('regional', 20_500);
  const past = 20_500 + PROMISE_MS;
  hear(past, passedOn);
  expect(moveTo(past)).toBeNull();
  // A person says it anew, knowing how it stands.
  hear(past, { ...passedOn, requestId: randomUUID() });
  expect(moveTo(past)).toBe('metro');

  // The other site may have the person's word a moment before the leader, which is still told that it is armed.
  const word = { requestId: randomUUID(), leaseSeconds: 30, to: 'regional' as const, byOrder: true };
  const second = control();
  second.hear(entry({ role: 'regional', disarmed: word }), heard(20_000, 19_500));
  second.promiseArmed('metro', 20_100);
  second.hear(entry({ disarmed: word }), heard(21_000, 20_500));
  expect(second.decide(alone(21_000, { stalledMs: 0, otherNear: true })).moveTo).toBe('regional');
});

test("to the regional site: by the metro's record at once if it is near, never beside a receiver, and once only", () => {
  const decider = control();
  const disarmed = { requestId: randomUUID(), leaseSeconds: 30, to: 'regional' as const };
  const decide = (over: Partial<DegradeInput> = {}) => decider.decide(alone(5_000, { stalledMs: 0, ...over }));
  decider.hear(entry({ disarmed }), heard(5_000, 4_500));
  expect(decide()).toMatchObject({ receiverForMs: null, moveTo: null, moveBlocked: 'regional' });
  expect(decide({ otherNear: true })).toMatchObject({ receiverForMs: null, moveTo: 'regional', moveBlocked: null });
  expect(decide({ leader: 'regional', otherNear: true })).toMatchObject({ moveTo: null, moveBlocked: null });
  // Told again by a late pulse after the return.
  decider.hear(entry({ disarmed }), heard(6_000, 5_500));
  expect(decide({ otherNear: true })).toMatchObject({ moveTo: null });
});

test('to the regional site with a silent metro: the grant waits for the promise to the metro, and for a stall', () => {
  const decider = control();
  decider.promiseArmed('metro', 20_000);
  decider.hearControlPlane({ requestId: randomUUID(), to: 'regional', until: 600_000 });
  const decide = (now: number, over: Partial<DegradeInput> = {}) =>
    decider.decide(alone(now, { otherNear: true, ...over })).moveTo;
  expect(decide(20_000 + PROMISE_MS - 1)).toBeNull();
  expect(decide(20_000 + PROMISE_MS, { stalledMs: 0 })).toBeNull();
  expect(decide(20_000 + PROMISE_MS)).toBe('regional');
  // The metro is heard again: it has to be asked.
  decider.hear(entry(), heard(40_000, 39_000));
  expect(decide(40_000)).toBeNull();
  const refusing = control();
  refusing.hearControlPlane({ requestId: randomUUID(), to: 'regional', until: 600_000 });
  refusing.hear(entry({ role: 'regional', refuseLease: true }), heard(50_000, 49_000));
  expect(refusing.decide(alone(60_000, { otherNear: true })).moveTo).toBeNull();
});

test('an available agency goes on alone where the regional site is granted but not near, and moves to it once it is', () => {
  const decider = control();
  decider.hearControlPlane({ requestId: randomUUID(), to: 'regional', until: 600_000 });
  const decide = (over: Partial<DegradeInput>) => decider.decide(alone(30_000, { mode: 'available', ...over }));
  expect(decide({})).toMatchObject({ receiverForMs: 10_000, moveBlocked: 'regional' });
  expect(decide({ otherNear: true })).toMatchObject({ receiverForMs: null, moveTo: 'regional' });
});

test('back to the metro: asked for after thirty seconds near, at once for a person, allowed by the regional site alone', () => {
  const decider = control();
  const led = (now: number, otherNear = true) =>
    decider.decide(alone(now, { leader: 'regional', sender: sender(7), inOrder: true, stalledMs: 0, otherNear }));
  led(100_000);
  led(129_999);
  expect(decider.returnRequest).toBeNull();
  led(129_999, false);
  led(130_001);
  expect(decider.returnRequest).toBeNull();
  led(160_001);
  const asked = decider.returnRequest;
  expect(asked).not.toBeNull();
  const disarmed = { requestId: asked!.requestId, leaseSeconds: 30, to: 'metro' as const };
  const said = { ...heard(161_000, 160_500, 'regional'), sender: sender(7) };
  decider.promiseArmed('regional', 160_500);
  decider.hear(entry({ disarmed }), said);
  decider.hear(entry({ disarmed: { ...disarmed, byOrder: true } }), said);
  expect(led(161_000).moveTo).toBeNull();
  decider.hear(entry({ role: 'regional', disarmed }), said);
  expect(led(161_000).moveTo).toBe('metro');
  expect(led(161_000, false)).toMatchObject({ moveTo: null, moveBlocked: 'metro' });
  expect(decider.returnRequest).toBeNull();

  const hurried = control();
  hurried.hear(entry({ role: 'regional', rearm: true }), heard(1_000, 500, 'regional'));
  hurried.decide(alone(1_000, { leader: 'regional', sender: sender(7), inOrder: true, stalledMs: 0, otherNear: true }));
  expect(hurried.returnRequest).not.toBeNull();
});

import { expect, test } from 'vitest';
import { TEST_NAMES } from '#test/agency';
import { ArmedFloor, judgeArming, StallWatch } from './armed.js';
import { SenderNearness } from './sender-nearness.js';
import { ledBy, synchronousNames, type Sample, type Sender } from './sample.js';

type Site = 'metro' | 'regional';
const PARTS = {
  metro: { application: TEST_NAMES.metroApplication, user: TEST_NAMES.metroRole, slot: TEST_NAMES.metroSlot, pid: 11 },
  regional: {
    application: TEST_NAMES.regionalApplication,
    user: TEST_NAMES.regionalRole,
    slot: TEST_NAMES.regionalSlot,
    pid: 12,
  },
} as const;

const sender = (site: Site, over: Partial<Sender> = {}): Sender => {
  const { application, user, pid } = PARTS[site];
  return { pid, application, user, state: 'streaming', sync: 'async', flush: '0/3000000', repliedAt: '1', ...over };
};
const slot = (site: Site) => ({
  name: PARTS[site].slot,
  active: true,
  activePid: PARTS[site].pid,
  walStatus: 'reserved',
  safeWalBytes: null,
  retainedBytes: 0,
});
/** Both sites stream; `leader` is listed and synchronous. */
const led = (leader: Site, over: Partial<Sample> = {}): Sample => ({
  askedAt: 1,
  inRecovery: false,
  lsn: '0/3000000',
  timeline: 1,
  systemIdentifier: '1',
  synchronousNames: synchronousNames(TEST_NAMES, leader),
  filedNames: synchronousNames(TEST_NAMES, leader),
  namesLocked: false,
  configurationLoadedAt: 'loaded',
  startedAt: 'started',
  senders: (['metro', 'regional'] as const).map((site) => sender(site, { sync: site === leader ? 'sync' : 'async' })),
  slots: [slot('metro'), slot('regional')],
  ...over,
});
const judge = (sample: Sample) => judgeArming(sample, TEST_NAMES);

test.each(['metro', 'regional'] as const)(
  'with the %s site in the lead, armed means that site, genuine and alone',
  (leader) => {
    const other = leader === 'metro' ? 'regional' : 'metro';
    const [mine, theirs] = [sender(leader, { sync: 'sync' }), sender(other)];
    expect(judge(led(leader))).toMatchObject({
      armed: true,
      leader,
      sender: mine,
      other: theirs,
      impostors: [],
      stale: [],
    });
    // Without quotes and in capitals it is the same setting to the server.
    const loose = synchronousNames(TEST_NAMES, leader).replaceAll('"', '').toUpperCase();
    expect(judge(led(leader, { synchronousNames: loose, filedNames: loose })).armed).toBe(true);
    const cases: [Partial<Sample>, string][] = [
      [{ inRecovery: true }, 'the server is in recovery and accepts no writes'],
      [{ senders: [theirs] }, `the ${leader} site does not stream`],
      [{ senders: [{ ...mine, state: 'catchup' }, theirs] }, `the ${leader} site is catching up`],
      [{ senders: [{ ...mine, sync: 'potential' }, theirs] }, `the ${leader} site is not the synchronous one yet`],
      [{ senders: [{ ...mine, user: 'postgres' }, theirs] }, `somebody else streams under the ${leader} site's name`],
      [{ senders: [mine, theirs, { ...mine, pid: 99 }] }, `somebody else streams under the ${leader} site's name`],
      [{ senders: [mine, { ...mine, pid: 98, application: TEST_NAMES.lease }] }, 'the degrade receiver is running'],
      // The walsender of the site that led before has not read the change: it would still let commits return.
      [
        { senders: [mine, { ...theirs, sync: 'sync' }] },
        'a walsender goes by an older synchronous_standby_names still',
      ],
      [{ namesLocked: true }, 'a change of synchronous_standby_names is under way'],
      [{ filedNames: synchronousNames(TEST_NAMES, other) }, 'a change of synchronous_standby_names is under way'],
      [{ filedNames: '' }, 'a change of synchronous_standby_names is under way'],
    ];
    for (const [over, because] of cases)
      expect(judge(led(leader, over))).toMatchObject({ armed: false, because, leader });
  },
);

test('a setting that is not exactly one of ours makes nobody the leader', () => {
  for (const setting of ['', `FIRST 1 ("${TEST_NAMES.metroApplication}")`, 'ANY 1 (*)']) {
    expect(ledBy(setting, TEST_NAMES)).toBeNull();
    expect(judge(led('metro', { synchronousNames: setting }))).toMatchObject({ armed: false, leader: null });
  }
});

test('an impostor of the other site is not taken for it', () => {
  const sample = led('metro');
  const twice = led('metro', { senders: [...sample.senders, { ...sender('regional'), pid: 77 }] });
  expect(judge(twice)).toMatchObject({ armed: true, other: undefined });
});

test('after a change of the leader the new one proves itself anew: it must have all that was acknowledged before', () => {
  const floor = new ArmedFloor();
  const at = new Date(0);
  const verdict = (sample: Sample) => floor.judge(sample, judge(sample), at).armed;
  expect(verdict(led('metro'))).toBe(true);
  const behind = (site: Site, flush: string) =>
    led(site, { lsn: '0/4000000', senders: [sender(site, { sync: 'sync', flush })] });
  expect(verdict(behind('metro', '0/3000000'))).toBe(true);
  expect(verdict(behind('regional', '0/3FFFFFF'))).toBe(false);
  expect(verdict(behind('regional', '0/4000000'))).toBe(true);
  expect(verdict(behind('regional', '0/4000000'))).toBe(true);
});

test('a stall counts anew with each leader', () => {
  const watch = new StallWatch();
  const stalled = (leader: Site, now: number) => {
    const sample = led(leader, { senders: [] });
    return watch.observe(sample, judge(sample), now);
  };
  expect(stalled('metro', 1_000)).toBe(0);
  expect(stalled('metro', 9_000)).toBe(8_000);
  expect(stalled('regional', 10_000)).toBe(0);
  expect(stalled('regional', 11_000)).toBe(1_000);
});

test('a site is near while it has almost everything and goes on replying: one that is frozen is not, however near it was', () => {
  const nearness = new SenderNearness();
  const near = (now: number, over: Partial<Sender>) => nearness.observe(sender('metro', over), led('regional'), now);
  // Not known yet.
  expect(near(1_000, { repliedAt: '1' })).toBe(false);
  expect(near(2_000, { repliedAt: '2' })).toBe(true);
  expect(near(5_999, { repliedAt: '2' })).toBe(true);
  expect(near(6_000, { repliedAt: '2' })).toBe(false);
  expect(near(7_000, { repliedAt: '3', flush: '0/1FFFFFF' })).toBe(false);
  expect(near(7_000, { repliedAt: '3', flush: '0/2000000' })).toBe(true);
  expect(near(7_000, { repliedAt: '3', state: 'catchup' })).toBe(false);
  expect(near(7_000, { repliedAt: '4', pid: 99 })).toBe(false);
  expect(nearness.observe(undefined, led('regional'), 7_500)).toBe(false);
});

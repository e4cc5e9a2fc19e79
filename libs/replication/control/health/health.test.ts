import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { StandbyHealth } from '#contracts/replication';
import { conditionOf, judgeLeg, type KeptHealth, regionalMayLead, synchronousSiteOf } from './health.js';

const site = { id: randomUUID(), name: 'Olympia metro', role: 'metro' as const };
const measuredAt = '2031-01-01T12:00:00.000Z';
const healthy: StandbyHealth = {
  workloadId: randomUUID(),
  tenantId: randomUUID(),
  role: 'metro',
  state: 'streaming',
  epoch: 1,
  sourceSeenAt: '2031-01-01T11:59:59.500Z',
  sourceLsn: '0/3000060',
  receivedLsn: '0/3000060',
  replayedLsn: '0/3000060',
  timeline: 1,
  bytesBehind: 0,
  secondsBehind: null,
  armed: true,
  armedSince: '2031-01-01T11:00:00.000Z',
  armedUntil: '2031-01-01T12:00:09.000Z',
  asynchronousSinceLsn: null,
  seeding: null,
  alarms: [],
  frontDoor: { host: 'metro.example', port: 24_000, leadsTo: 'production' },
};
const kept = (change: Partial<KeptHealth> = {}, health: Partial<StandbyHealth> = {}): KeptHealth => ({
  siteId: site.id,
  ageSeconds: 1,
  measuredAt,
  health: { ...healthy, ...health },
  ...change,
});
const protecting = { state: 'protecting' as const, paused: false, rebooting: false };

describe('judgeLeg', () => {
  it('says what was measured, whatever the site’s clock says', () => {
    const leg = judgeLeg(site, kept(), false);
    expect(leg).toMatchObject({ state: 'streaming', armed: true, bytesBehind: 0, sourceSeenSecondsAgo: 1.5 });
    expect(conditionOf(protecting, [leg])).toBe('armed');
  });

  it.each([
    ['a silent site', kept({ ageSeconds: 10.1 })],
    ['a silent agency', kept({}, { sourceSeenAt: '2031-01-01T11:59:50.500Z' })],
    ['an agency never heard', kept({}, { sourceSeenAt: null })],
    ['a site that never reported', undefined],
  ])('is unknown, and claims nothing, for %s', (_what, measurement) => {
    const leg = judgeLeg(site, measurement, false);
    expect(leg).toMatchObject({ state: 'unknown', armed: null, bytesBehind: null });
    expect(leg.unknownBecause).toBeTruthy();
    expect(conditionOf(protecting, [leg])).toBe('unknown');
  });

  it('does not mind a silent agency once the site has taken over, or while a reboot is announced', () => {
    const silent = { sourceSeenAt: '2031-01-01T10:00:00.000Z' };
    expect(judgeLeg(site, kept({}, { ...silent, state: 'primary' }), false).state).toBe('primary');
    expect(judgeLeg(site, kept({}, silent), true).state).toBe('streaming');
  });
});

it('is degraded, not armed, while production does not wait for the metro', () => {
  const leg = judgeLeg(site, kept({}, { armed: false, asynchronousSinceLsn: '0/3000000' }), false);
  expect(conditionOf(protecting, [leg])).toBe('degraded');
});

describe('the synchronous site', () => {
  const heard = (synchronousSite: StandbyHealth['synchronousSite'], ageSeconds: number) =>
    kept({ ageSeconds }, { synchronousSite });

  it('is whichever the site says that heard the agency last', () => {
    expect(synchronousSiteOf([heard('metro', 60), heard('regional', 2)])).toBe('regional');
    expect(synchronousSiteOf([heard('metro', 1), heard('regional', 2)])).toBe('metro');
    // The agency burns: the last word still says where to promote, but not what is so now.
    expect(synchronousSiteOf([heard('metro', 300), heard('regional', 200)])).toBe('regional');
    expect(synchronousSiteOf([heard('metro', 300), heard('regional', 200)], 10)).toBeNull();
    expect(synchronousSiteOf([heard(null, 1), kept()])).toBeNull();
  });

  it('may be the regional one unless a site was just told otherwise', () => {
    expect(regionalMayLead([])).toBe(true);
    expect(regionalMayLead([kept()])).toBe(true);
    expect(regionalMayLead([heard('metro', 60)])).toBe(true);
    expect(regionalMayLead([heard('metro', 2), heard('regional', 1)])).toBe(true);
    expect(regionalMayLead([heard('metro', 1), heard('regional', 2)])).toBe(false);
    // Paused: production waits for neither.
    expect(regionalMayLead([heard(null, 1)])).toBe(false);
  });
});

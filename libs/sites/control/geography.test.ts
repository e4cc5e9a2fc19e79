import { describe, expect, it } from 'vitest';
import { distanceMiles, judge, sharedHazards } from './geography.js';

const springfield = { latitude: 39.7817, longitude: -89.6501 };
const chicago = { latitude: 41.8781, longitude: -87.6298 };

describe('distanceMiles', () => {
  it('agrees with the published distance of two cities', () => {
    expect(distanceMiles(springfield, chicago)).toBeGreaterThan(177);
    expect(distanceMiles(springfield, chicago)).toBeLessThan(180);
  });

  it('is nothing for one place, and half the girth for its antipode', () => {
    expect(distanceMiles(chicago, chicago)).toBe(0);
    expect(distanceMiles({ latitude: 0, longitude: 0 }, { latitude: 0, longitude: 180 })).toBeCloseTo(12_436.9, 0);
  });
});

describe('judge', () => {
  it.each([
    [19.9, null, true],
    [20.1, null, false],
    [300, 1.9, true],
    [300, 2.1, false],
    [null, null, false],
    [null, 0.4, true],
  ])('%s miles and %s ms: metro %s', (miles, roundTrip, metro) => {
    const answer = judge(miles, roundTrip);
    expect(answer.metro).toBe(metro);
    expect(answer.reasons).toHaveLength(2);
  });
});

it('names the hazards that two sites share', () => {
  expect(sharedHazards(['fema-AE-17', 'new-madrid'], ['new-madrid', 'tornado-4'])).toEqual(['new-madrid']);
});

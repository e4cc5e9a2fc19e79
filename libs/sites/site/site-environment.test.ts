import { expect, test } from 'vitest';
import { standbyEnvironment } from './site-environment.js';

test('no workload runs as a user as whom the site opens what agencies archive', () => {
  const parsed = (range: string) => standbyEnvironment.safeParse({ SITE_UID_RANGE: range });
  expect(parsed('60706-61183').data?.SITE_UID_RANGE).toEqual({ first: 60_706, last: 61_183 });
  for (const range of ['60705-61183', '60000-60578', '60600-60610', '1000-70000']) {
    expect(parsed(range).error?.issues[0]?.message).toMatch(/60578 to 60705/);
  }
});

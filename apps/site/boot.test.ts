import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OrderHandlerMismatchError } from '#libs/sites/site';
import { SITE_DOMAINS, siteDomains } from './domains.js';
import { SiteUnderTest } from './testing/site-under-test.js';

describe('a site process with all its domains', () => {
  let site: SiteUnderTest;
  beforeAll(async () => {
    site = await SiteUnderTest.start();
    await site.stop();
  });
  afterAll(() => site?.close());

  it('has a handler for every order and every job', async () => {
    await site.start(siteDomains({ archive: site.archive }));
    expect(await site.ask('GET', '/health')).toMatchObject({ status: 200 });
    expect((await site.outbox(0)).snapshot.workloads).toEqual([]);
    const nobody = '00000000-0000-4000-8000-000000000000';
    expect(await site.ask('GET', `/v1/workloads/${nobody}/outlook`)).toMatchObject({
      status: 404,
      body: { code: 'workload.not-found' },
    });
    await site.stop();
  });

  it('does not start when nobody carries out an order', async () => {
    await expect(site.start({ ...SITE_DOMAINS, modules: [] })).rejects.toBeInstanceOf(OrderHandlerMismatchError);
  });
});

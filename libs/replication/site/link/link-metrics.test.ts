import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { Metrics } from '#libs/platform/telemetry';
import { Scraped } from '#test/scrape';
import { LinkUnderTest } from './testing/link-under-test.js';
import { NamedServer, TestAgent } from './testing/test-agent.js';

const SOON = { timeoutMs: 20_000, everyMs: 10 };
let link: LinkUnderTest;
let production: NamedServer;
let agent: TestAgent;

beforeAll(async () => {
  link = await LinkUnderTest.prepare();
  await link.start();
  production = await new NamedServer('production').start();
  agent = new TestAgent({ permits: production });
});
afterAll(async () => {
  await agent?.close();
  await link?.close();
  await production?.close();
});

test('links that are up, what runs over them, and who is missing can be scraped', async () => {
  const scrape = async (): Promise<Scraped> => new Scraped((await link.get(Metrics).scrape()).text);
  const until = (what: string, name: string, labels: Record<string, string>, value: number) =>
    waitFor(what, async () => (await scrape()).value(name, labels) === value, SOON);
  await link.admit(agent.agentId, randomUUID(), agent.identity.publicKey);
  await link.admit(randomUUID(), randomUUID(), 'never seen');
  const nobody = await scrape();
  expect(nobody.value('mainstay_tunnel_links', { lane: 'sync' })).toBe(0);
  expect(nobody.value('mainstay_tunnel_agents_missing', { lane: 'sync' })).toBe(2);
  agent.dial(link.target());
  await waitFor('both lanes', () => agent.connected, SOON);
  for (const lane of ['sync', 'bulk']) {
    await until(`the lane ${lane}`, 'mainstay_tunnel_links', { lane }, 1);
    expect((await scrape()).value('mainstay_tunnel_agents_missing', { lane })).toBe(1);
  }
  await agent.close();
  await until('the agent to be missed', 'mainstay_tunnel_agents_missing', { lane: 'sync' }, 2);
});

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { ChaosProxy } from '#test/chaos-proxy';
import type { DuplicateInfo } from './agent-links.js';
import { linked, SOON, startAgent, startEcho, startSite, type TestSite } from './test-links.js';

async function proxyTo(site: TestSite): Promise<{ proxy: ChaosProxy; port: number }> {
  const proxy = new ChaosProxy(site);
  const port = await proxy.listen();
  onTestFinished(() => proxy.close());
  return { proxy, port };
}

test('a line that drops packets silently is noticed at both ends, and dialled again', async () => {
  const site = await startSite();
  const { proxy, port } = await proxyTo(site);
  const agent = startAgent(site, { port, workloads: { permits: await startEcho() }, timings: { handshake: 500 } });
  const first = await linked(site, agent);
  const stream = await site.gateway.open(agent.agentId, 'permits', 'sync');
  stream.on('error', () => undefined).resume();
  const gone = once(site.gateway, 'disconnected');
  const cut = once(stream, 'close');
  proxy.stall();
  expect((await gone)[1]).toBe('silent');
  await cut;
  await waitFor('the agent to notice', () => agent.dialer.status()[0]?.state !== 'connected', SOON);
  expect(site.gateway.links()).toEqual([]);
  proxy.resume();
  const second = await linked(site, agent);
  expect(second.connectedSince.getTime()).toBeGreaterThan(first.connectedSince.getTime());
  const again = await site.gateway.open(agent.agentId, 'permits', 'sync');
  again.write('hello');
  expect(String((await once(again, 'data'))[0])).toBe('hello');
  again.destroy();
});

test('a full line is not taken for a dead one', async () => {
  const site = await startSite();
  const { proxy, port } = await proxyTo(site);
  const agent = startAgent(site, {
    port,
    request: async () => ({ json: 'x'.repeat(600_000) }),
  });
  await linked(site, agent);
  let lost = 0;
  site.gateway.on('disconnected', () => (lost += 1));
  // Two seconds of data, four times the limit of silence, before which no pong can pass.
  proxy.bytesPerSecond = 300_000;
  await site.gateway.request(agent.agentId, 'sync', '/v1/large', {}, { timeoutMs: 20_000 });
  expect(lost).toBe(0);
});

test('a broken connection is dialled again at once', async () => {
  const site = await startSite();
  const { proxy, port } = await proxyTo(site);
  const agent = startAgent(site, { port });
  await linked(site, agent);
  for (let round = 0; round < 3; round += 1) {
    const gone = once(site.gateway, 'disconnected');
    proxy.cut();
    await gone;
    await linked(site, agent);
  }
});

test('revocation cuts the live link and what runs over it, and the agent learns why', async () => {
  const site = await startSite();
  const agent = startAgent(site, { workloads: { permits: await startEcho() }, lanes: ['sync', 'bulk'] });
  await linked(site, agent, 'sync');
  await linked(site, agent, 'bulk');
  const stream = await site.gateway.open(agent.agentId, 'permits', 'bulk');
  const cut = once(stream.on('error', () => undefined).resume(), 'close');
  const pending = site.gateway.open(agent.agentId, 'permits', 'sync');
  pending.catch(() => undefined);
  site.known.delete(agent.agentId);
  const reasons: (string | null)[] = [];
  agent.dialer.on('status', (status) => reasons.push(status.lastError));
  expect(site.gateway.revoke(agent.agentId)).toBe(2);
  expect(site.gateway.links()).toEqual([]);
  await cut;
  await expect(pending).rejects.toMatchObject({ code: expect.stringMatching(/^link\./) as string });
  await waitFor('the agent to learn it', () => reasons.some((text) => text?.includes('revoked this agent')), SOON);
  await waitFor('the refusal', () => reasons.some((text) => text?.includes('does not know the agent')), SOON);
  expect(site.gateway.links()).toEqual([]);
});

test('a second process with the same identity is refused while the first is alive, and takes over when it is not', async () => {
  const site = await startSite();
  const { proxy, port } = await proxyTo(site);
  const first = startAgent(site, { port });
  const held = await linked(site, first);
  const duplicates: DuplicateInfo[] = [];
  site.gateway.on('duplicate', (duplicate) => duplicates.push(duplicate));
  const second = startAgent(site, { agentId: first.agentId, identity: first.identity });
  await waitFor('the refusal', () => second.dialer.status()[0]?.lastError?.includes('Another agent'), SOON);
  expect(duplicates[0]).toMatchObject({
    agentId: first.agentId,
    lane: 'sync',
    holder: { instanceId: held.instanceId },
  });
  expect(duplicates[0]!.refused.instanceId).not.toBe(held.instanceId);
  expect(site.gateway.links()).toEqual([expect.objectContaining({ instanceId: held.instanceId })]);
  proxy.stall();
  const heir = await waitFor(
    'the second to take over',
    () => site.gateway.links().find((link) => link.instanceId !== held.instanceId),
    SOON,
  );
  expect(heir.agentId).toBe(first.agentId);
});

test('the same process replaces its own older link at once', async () => {
  const site = await startSite();
  const instanceId = randomUUID();
  const first = startAgent(site, { instanceId });
  const before = await linked(site, first);
  const replaced = once(site.gateway, 'disconnected');
  startAgent(site, { agentId: first.agentId, identity: first.identity, instanceId });
  const [info, reason] = (await replaced) as [{ connectedSince: Date }, string];
  expect([info.connectedSince, reason]).toEqual([before.connectedSince, 'replaced']);
  await first.dialer.close();
  await linked(site, first);
});

test('an agent follows what it is assigned: new sites are dialled, gone ones closed', async () => {
  const [one, two] = [await startSite(), await startSite()];
  const agent = startAgent(one);
  two.known.set(agent.agentId, agent.identity.publicKey);
  await linked(one, agent);
  agent.dialer.setSites([two]);
  await linked(two, agent);
  await waitFor('the first to be left', () => one.gateway.links().length === 0, SOON);
  expect(agent.dialer.status().map((link) => link.siteId)).toEqual([two.siteId]);
});

import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { DiscoveryModule, NestFactory } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { uuid } from '#contracts/sites';
import { waitFor } from '#libs/platform/clock';
import { DomainError } from '#libs/platform/errors';
import { TelemetryModule } from '#libs/platform/nest';
import { freePort } from '#libs/platform/postgres';
import {
  AgentRefusedError,
  AgentUnreachableError,
  LinkedAgentCommands,
  LinkedAgents,
  LinkedPeerSites,
  type PeerCaller,
  PeerCommandServer,
  type PeerCommandHandler,
  PeerHandler,
  PeerRefusedError,
  PeerUnreachableError,
  SiteSettings,
} from '#libs/sites/site';
import { Forwarders } from './forwarders.js';
import { LinkUnderTest } from './testing/link-under-test.js';
import { connectClient, NamedServer, TestAgent } from './testing/test-agent.js';

const SOON = { timeoutMs: 20_000, everyMs: 20 };
const ofWorkload = z.strictObject({ workloadId: uuid });
const greet = { path: '/v1/peer/greet', input: ofWorkload, output: z.object({ siteId: uuid }) };
const refuse = { path: '/v1/peer/refuse', input: ofWorkload, output: z.object({}) };
const pour = { path: '/v1/peer/pour', input: ofWorkload, output: z.unknown() };
const echo = { path: '/v1/echo', input: z.object({ text: z.string() }), output: z.object({ text: z.string() }) };
const BYTES = 3_000_000;

class NotNowError extends DomainError {
  constructor() {
    super('precondition', 'test.not-now', 'Not now.');
  }
}

@PeerHandler(greet)
class GreetHandler implements PeerCommandHandler<z.infer<typeof ofWorkload>, { siteId: string }> {
  answer(caller: PeerCaller): Promise<{ siteId: string }> {
    return Promise.resolve({ siteId: caller.siteId });
  }
}
@PeerHandler(refuse)
class RefuseHandler implements PeerCommandHandler<z.infer<typeof ofWorkload>, Record<string, never>> {
  answer(): Promise<Record<string, never>> {
    return Promise.reject(new NotNowError());
  }
}
@PeerHandler(pour)
class PourHandler implements PeerCommandHandler<z.infer<typeof ofWorkload>, unknown> {
  answer(): Promise<Readable> {
    return Promise.resolve(Readable.from([Buffer.alloc(BYTES / 2, 1), Buffer.alloc(BYTES / 2, 2)]));
  }
}

describe('the ways out of a site', () => {
  let metro: LinkUnderTest;
  let regional: LinkUnderTest;
  let metroSite: INestApplicationContext;
  let standby: NamedServer;
  let production: NamedServer;
  let agent: TestAgent;
  let commands: LinkedAgentCommands;
  let peers: LinkedPeerSites;
  const workloadId = randomUUID();
  const tenantId = randomUUID();

  beforeAll(async () => {
    metro = await LinkUnderTest.prepare();
    regional = await LinkUnderTest.prepare();
    await Promise.all([metro.start(), regional.start()]);
    standby = await new NamedServer('standby').start();
    production = await new NamedServer('production').start();
    @Module({
      imports: [TelemetryModule.forProcess('site', 'silent'), DiscoveryModule],
      providers: [
        { provide: SiteSettings, useValue: new SiteSettings(metro.settings) },
        PeerCommandServer,
        GreetHandler,
        RefuseHandler,
        PourHandler,
        LinkedAgents,
      ],
    })
    class TestSiteModule {}
    metroSite = await NestFactory.createApplicationContext(TestSiteModule, { logger: false });
    agent = new TestAgent({ permits: production });
    await metro.admit(agent.agentId, tenantId, agent.identity.publicKey);
    const row = { workloadId, tenantId, agentId: agent.agentId };
    await metro.protect({ ...row, standbyPort: standby.port, peer: regional.asPeer() });
    await regional.protect({ ...row, peer: metro.asPeer(), follow: 'peer' });
    agent.dial(metro.target());
    await waitFor('the agent', () => agent.connected, SOON);
    commands = new LinkedAgentCommands(new SiteSettings(metro.settings));
    peers = new LinkedPeerSites(new SiteSettings(regional.settings));
  });
  afterAll(async () => {
    await metroSite?.close();
    await agent?.close();
    await metro?.close();
    await regional?.close();
    await standby?.close();
    await production?.close();
  });

  it('carries commands to an agent and its answers back', async () => {
    const options = { timeoutMs: 10_000 };
    expect(await commands.call(agent.agentId, echo, { text: 'hello' }, options)).toEqual({ text: 'hello' });
    const bytes = await commands.stream(agent.agentId, '/v1/bytes', {});
    expect((await buffer(bytes)).length).toBe(1_000_000);
    await expect(
      commands.call(agent.agentId, { ...echo, path: '/v1/nothing' }, { text: '' }, options),
    ).rejects.toMatchObject({ constructor: AgentRefusedError, code: 'command.not-found' });
    await expect(commands.call(randomUUID(), echo, { text: '' }, options)).rejects.toBeInstanceOf(
      AgentUnreachableError,
    );
  });

  it('shows the links that live now', async () => {
    const [state] = await metroSite.get(LinkedAgents).list();
    expect(state?.agentId).toBe(agent.agentId);
    expect(state?.lanes.toSorted()).toEqual(['bulk', 'sync']);
  });

  it("carries commands to the other site's process, with its codes and its bytes", async () => {
    const address = { peer: metro.asPeer(), workloadId };
    const options = { timeoutMs: 10_000 };
    const input = { workloadId };
    expect(await peers.call(address, greet, input, options)).toEqual({ siteId: regional.siteId });
    await expect(peers.call(address, refuse, input, options)).rejects.toMatchObject({
      constructor: PeerRefusedError,
      code: 'test.not-now',
    });
    expect((await buffer(await peers.stream(address, pour.path, input))).length).toBe(BYTES);
  });

  it('lets no site ask about a workload that it does not share', async () => {
    const options = { timeoutMs: 10_000 };
    const other = randomUUID();
    await expect(
      peers.call({ peer: metro.asPeer(), workloadId: other }, greet, { workloadId: other }, options),
    ).rejects.toMatchObject({ constructor: PeerRefusedError, code: 'workload.not-found' });
    await expect(
      peers.call({ peer: metro.asPeer(), workloadId }, greet, { workloadId: other }, options),
    ).rejects.toMatchObject({ constructor: PeerRefusedError, code: 'peer-command.other-workload' });
    const stranger = await LinkUnderTest.prepare();
    await stranger.start();
    const strange = new LinkedPeerSites(new SiteSettings(stranger.settings));
    await expect(
      strange.call({ peer: metro.asPeer(), workloadId }, greet, { workloadId }, options),
    ).rejects.toBeInstanceOf(PeerUnreachableError);
    await stranger.close();
  });

  it("leads a forwarder to the other site's standby, or to the agency, as the row says", async () => {
    const port = await regional.get(Forwarders).ensure(workloadId);
    expect(await regional.get(Forwarders).ensure(workloadId)).toBe(port);
    const first = await waitFor('the standby', () => greeted(port, 'standby'), SOON);
    const local = await freePort();
    await metro.sql(`UPDATE standby SET forward_port = $2 WHERE workload_id = $1`, [workloadId, local]);
    await waitFor('the agency', () => greeted(local, 'production'), SOON);
    // The regional site has no link to the agency: a walreceiver is turned away, and its old connection ended.
    await regional.get(Forwarders).follow(workloadId, 'agency');
    await waitFor('the end of what was followed before', () => first.ended, SOON);
    expect((await connectClient(port)).greeting).toBe('');
  });

  it('says that nobody can be reached while the link process is away', async () => {
    const away = new LinkedAgentCommands(new SiteSettings({ ...metro.settings, linkSocket: '/nonexistent/link.sock' }));
    await expect(away.call(agent.agentId, echo, { text: '' }, { timeoutMs: 1_000 })).rejects.toBeInstanceOf(
      AgentUnreachableError,
    );
  });

  async function greeted(port: number, wanted: string) {
    const client = await connectClient(port);
    if (client.greeting === wanted) return client;
    client.close();
    return undefined;
  }
});

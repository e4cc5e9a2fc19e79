import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LEASE_SECONDS } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { freePort } from '#libs/platform/postgres';
import { ChaosProxy } from '#test/chaos-proxy';
import { FrontDoors } from './front-doors.js';
import { LinkUnderTest } from './testing/link-under-test.js';
import { connectClient, NamedServer, TestAgent } from './testing/test-agent.js';

const SOON = { timeoutMs: 20_000, everyMs: 10 };

describe('the link process', () => {
  let link: LinkUnderTest;
  let production: NamedServer;
  let standby: NamedServer;
  let proxy: ChaosProxy;
  let proxyPort: number;
  let agent: TestAgent;
  const agents: TestAgent[] = [];
  const tenantId = randomUUID();
  let workloadId: string;

  beforeAll(async () => {
    link = await LinkUnderTest.prepare();
    await link.start();
    production = await new NamedServer('production').start();
    standby = await new NamedServer('standby').start();
  });
  afterAll(async () => {
    await link?.close();
    await production?.close();
    await standby?.close();
  });

  beforeEach(async () => {
    workloadId = randomUUID();
    proxy = new ChaosProxy({ host: '127.0.0.1', port: link.port });
    proxyPort = await proxy.listen();
    agent = newAgent();
    await link.admit(agent.agentId, tenantId, agent.identity.publicKey);
  });
  afterEach(async () => {
    await Promise.all(agents.splice(0).map((one) => one.close()));
    await link.sql(`DELETE FROM standby`);
    await proxy.close();
  });

  function newAgent(identity?: ConstructorParameters<typeof TestAgent>[1]): TestAgent {
    const made = new TestAgent({ permits: production }, identity);
    agents.push(made);
    return made;
  }

  async function connect(): Promise<void> {
    agent.dial(link.target(proxyPort));
    await waitFor('both lanes', () => agent.connected, SOON);
  }

  it('never believes longer than ten seconds from an answered pulse, however slow the line', async () => {
    await link.protect({ workloadId, tenantId, agentId: agent.agentId });
    proxy.delayMs = 300;
    await connect();
    await waitFor('the lease', async () => (await link.lease(workloadId)).armed, SOON);
    await waitFor('a few pulses', () => agent.pulses.length > 2, SOON);
    const believed = async (): Promise<number> => (await link.lease(workloadId)).armedUntil?.getTime() ?? 0;
    const promised = (): number => (agent.pulses.at(-1)?.at ?? 0) + LEASE_SECONDS * 1_000;
    expect(await believed()).toBeLessThanOrEqual(promised());
    proxy.stall();
    const before = await believed();
    // The link itself is found dead; what was held back meanwhile must not count.
    await waitFor(
      'the dead link',
      async () => (await link.results('agent.link')).at(-1)?.['state'] === 'disconnected',
      SOON,
    );
    proxy.resume();
    await waitFor('a new pulse', async () => (await believed()) > before, SOON);
    expect(await believed()).toBeLessThanOrEqual(promised());
  });

  it('has written down disarming before the agent hears of it', async () => {
    await link.protect({ workloadId, tenantId, agentId: agent.agentId, mode: 'available' });
    const requestId = randomUUID();
    const seen = Promise.withResolvers<{ id: string | null; lease: number }>();
    agent.beforeAnswer = async ({ workloads: [workload] }) => {
      if (!workload?.disarmed) return;
      const [row] = await link.sql<{ disarm_request_id: string }>(
        `SELECT disarm_request_id FROM armed_lease WHERE workload_id = $1`,
        [workloadId],
      );
      const { degradeSecondsLeft } = await link.lease(workloadId);
      seen.resolve({ id: row?.disarm_request_id ?? null, lease: degradeSecondsLeft });
    };
    await connect();
    await waitFor('the lease', async () => (await link.lease(workloadId)).armed, SOON);
    agent.answer = { armed: false, disarmRequest: { requestId, lsn: '0/6000000', reason: 'stalled' } };
    const { id, lease } = await seen.promise;
    expect(id).toBe(requestId);
    expect(lease).toBeGreaterThan(30);
    expect(await link.lease(workloadId)).toMatchObject({ armed: false, disarmedAtLsn: '0/6000000' });
  });

  it('cuts a revoked agent and all that runs over its links', async () => {
    const port = await freePort();
    await link.protect({ workloadId, tenantId, agentId: agent.agentId, forwardPort: port });
    await connect();
    const client = await waitFor('the forwarder', () => greeted(port, 'production'), SOON);
    await link.sql(`UPDATE agent_identity SET revoked_at = now() WHERE agent_id = $1`, [agent.agentId]);
    await waitFor('the cut', () => client.ended && !agent.states.includes('connected'), SOON);
    await waitFor('the refusal', () => agent.lastError?.includes('revoked'), SOON);
    const news = (await link.results('agent.link')).filter(({ agentId }) => agentId === agent.agentId);
    expect(news.map(({ state }) => state)[0]).toBe('connected');
    expect((await connectClient(port)).greeting).toBe('');
  });

  it('tells of a second agent with the same identity, and keeps the first', async () => {
    await connect();
    const copy = newAgent({ agentId: agent.agentId, identity: agent.identity });
    copy.dial(link.target());
    await waitFor(
      'the alarm',
      async () =>
        (await link.results('agent.link')).some(
          ({ agentId, state }) => agentId === agent.agentId && state === 'duplicate',
        ),
      SOON,
    );
    expect(agent.connected).toBe(true);
    expect(copy.states).not.toContain('connected');
  });

  it("opens nothing of an agent that is not the workload's own agency's", async () => {
    const port = await freePort();
    const otherTenant = randomUUID();
    await link.protect({ workloadId, tenantId: otherTenant, agentId: agent.agentId, forwardPort: port });
    await link.get(FrontDoors).ensure(workloadId);
    await connect();
    await waitFor('the listener', async () => (await connectClient(port)).ended, SOON);
    expect((await connectClient(port)).greeting).toBe('');
  });

  it('leads a front door where its row says, and ends the connections to the old place at once', async () => {
    await link.protect({ workloadId, tenantId, agentId: agent.agentId, standbyPort: standby.port });
    const doors = link.get(FrontDoors);
    const { port } = await doors.ensure(workloadId);
    await doors.admit(workloadId, ['127.0.0.1/32']);
    await connect();
    const first = await waitFor('production', () => greeted(port, 'production'), SOON);
    await doors.lead(workloadId, 'standby');
    await waitFor('the end of the old connection', () => first.ended, SOON);
    const second = await connectClient(port);
    expect(second.greeting).toBe('standby');
    await doors.lead(workloadId, 'closed');
    await waitFor('the closing', () => second.ended, SOON);
    expect((await connectClient(port)).greeting).toBe('');
    await link.stop();
    await link.start();
    expect(await link.get(FrontDoors).ensure(workloadId)).toMatchObject({ port });
    await link.get(FrontDoors).lead(workloadId, 'standby');
    await waitFor('the same address after a restart', () => greeted(port, 'standby'), SOON);
  });

  it('lets clients of the listed networks in at a front door, and nobody while none is listed', async () => {
    await link.protect({ workloadId, tenantId, agentId: agent.agentId, standbyPort: standby.port });
    const doors = link.get(FrontDoors);
    const { port } = await doors.ensure(workloadId);
    await connect();
    await waitFor('the listener', async () => (await connectClient(port)).ended, SOON);
    // Production is there, and the row leads to it.
    expect(agent.connected).toBe(true);
    expect((await connectClient(port)).greeting).toBe('');
    await doors.admit(workloadId, ['127.0.0.2/32', 'fd00::/8']);
    const first = await waitFor('the listed one', () => greeted(port, 'production', '127.0.0.2'), SOON);
    expect((await connectClient(port, '127.0.0.1')).greeting).toBe('');
    // After a promotion too.
    await doors.lead(workloadId, 'standby');
    await waitFor('the end of the old connection', () => first.ended, SOON);
    const second = await waitFor('the standby', () => greeted(port, 'standby', '127.0.0.2'), SOON);
    expect((await connectClient(port, '127.0.0.1')).greeting).toBe('');
    await doors.admit(workloadId, ['127.0.0.1/32']);
    await waitFor('the end of who is not listed any more', () => second.ended, SOON);
    await waitFor('the other one', () => greeted(port, 'standby', '127.0.0.1'), SOON);
  });

  /** The connection, once its greeting is the wanted one. */
  async function greeted(port: number, wanted: string, from?: string) {
    const client = await connectClient(port, from);
    if (client.greeting === wanted) return client;
    client.close();
    return undefined;
  }
});

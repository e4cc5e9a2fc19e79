import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  armingChanged,
  clientNetworksOrder,
  degradeOrder,
  divergenceFound,
  oldPrimaryFenced,
  protectOrder,
  rearmOrder,
  unprotectedResult,
  unprotectOrder,
} from '#contracts/replication';
import { AGENT_AUTHORIZATION_SCHEME, agentLinkResult, agentProof, orderFailed } from '#contracts/sites';
import { signDocument } from '#libs/link';
import { ControlPlane, type EnrolledAgent } from '#test/control-plane';

describe('workloads and their protection', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const askSelf = async ({ id, keys }: EnrolledAgent) => {
    const { challenge } = (await plane.api.post('/v1/agents/challenge', undefined)).body;
    const signature = signDocument(agentProof(id, challenge, '/v1/agents/self'), keys.privateKey);
    const authorization = `${AGENT_AUTHORIZATION_SCHEME} ${id}:${challenge}:${signature}`;
    return (await plane.api.call('GET', '/v1/agents/self', { headers: { authorization } })).body;
  };
  const functionBody = { name: 'Issue permits', mtdSeconds: 7_200, rtoSeconds: 600, rpoSeconds: 0, priority: 1 };

  it('201, 409 and 422: objectives of an essential function must fit together', async () => {
    const { apiKey } = await plane.api.agency();
    const made = await plane.api.post('/v1/functions', functionBody, apiKey);
    expect(made).toMatchObject({ status: 201, body: functionBody });
    const wrong = { ...functionBody, name: 'Other', rtoSeconds: 7_200 };
    expect(await plane.api.post('/v1/functions', wrong, apiKey)).toMatchObject({
      status: 422,
      body: { code: 'function.rto-not-below-mtd' },
    });
    expect((await plane.api.post('/v1/functions', functionBody, apiKey)).status).toBe(409);
    const path = `/v1/functions/${made.body.id}`;
    const changed = await plane.api.call('PATCH', path, { token: apiKey, body: { mtdSeconds: 500 } });
    expect(changed.status).toBe(422);
    expect((await plane.api.call('PATCH', path, { token: apiKey, body: { rtoSeconds: 60 } })).body).toMatchObject({
      ...functionBody,
      rtoSeconds: 60,
    });
    expect((await plane.api.call('DELETE', path, { token: apiKey })).status).toBe(204);
  });

  it('422 with findings and remedies for a server that cannot be replicated', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const { body } = await plane.api.post('/v1/workloads', { name: 'permits', agentId: agent.id }, agency.apiKey);
    const path = `/v1/workloads/${body.id}`;
    const started = await plane.api.post(`${path}/preflights`, undefined, agency.apiKey);
    expect(started).toMatchObject({ status: 202, body: { state: 'running' } });
    await plane.answerPreflight(agency, started.body.id, false);
    await plane.until(`${path}/preflights/${started.body.id}`, agency.apiKey, ({ state }) => state === 'blocked');
    expect(await plane.api.post(`${path}/protection`, { mode: 'strict' }, agency.apiKey)).toMatchObject({
      status: 422,
      body: {
        code: 'protection.preflight-blocked',
        facts: { findings: [{ code: 'wal.level-minimal', remedy: expect.stringContaining('wal_level') }] },
      },
    });
  });

  it('202: without a preflight one runs first, and the sites are ordered when it has passed', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const { body } = await plane.api.post('/v1/workloads', { name: 'permits', agentId: agent.id }, agency.apiKey);
    const path = `/v1/workloads/${body.id}/protection`;
    const made = await plane.api.post(path, { mode: 'strict' }, agency.apiKey);
    expect(made).toMatchObject({ status: 202, body: { state: 'checking', condition: 'checking' } });
    await plane.answerPreflight(agency, made.body.preflightId, true);
    const mine = ({ workloadId }: { workloadId: string }) => workloadId === body.id;
    const metro = await plane.metro.ordered(protectOrder, mine);
    const regional = await plane.regional.ordered(protectOrder, mine);
    expect(metro.payload).toMatchObject({
      role: 'metro',
      mode: 'strict',
      epoch: 1,
      peer: { siteId: plane.regional.id },
    });
    expect(regional.payload).toMatchObject({ role: 'regional', peer: { siteId: plane.metro.id } });
    expect(regional.payload.names).toEqual(metro.payload.names);
    expect((await plane.api.get(path, agency.apiKey)).body).toMatchObject({
      state: 'protecting',
      condition: 'unknown',
      metro: { state: 'unknown', bytesBehind: null, armed: null },
    });
    expect((await plane.api.post(path, { mode: 'strict' }, agency.apiKey)).body.code).toBe('protection.exists');
  });

  it('shows what was measured, unknown once the site is silent, and how clients connect', async () => {
    const { agency, id } = await plane.protectedWorkload();
    const path = `/v1/workloads/${id}`;
    const address = { host: 'permits.elm.example', port: 5432 };
    await plane.api.call('PATCH', path, { token: agency.apiKey, body: { clientAddress: address } });
    const armed = await plane.api.get(`${path}/protection`, agency.apiKey);
    expect(armed.body).toMatchObject({ condition: 'armed', metro: { armed: true, bytesBehind: 0 }, warnings: [] });
    expect((await plane.api.get(path, agency.apiKey)).body.connection.libpq).toBe(
      'host=permits.elm.example,127.0.0.1,127.0.0.1 port=5432,24000,25000 target_session_attrs=read-write connect_timeout=2 tcp_user_timeout=5000',
    );
    await plane.metro.cut();
    await plane.api.rows(`UPDATE standby_health SET received_at = now() - interval '11 seconds' WHERE site_id = $1`, [
      plane.metro.id,
    ]);
    const silent = await plane.api.get(`${path}/protection`, agency.apiKey);
    expect(silent.body).toMatchObject({
      condition: 'unknown',
      metro: { state: 'unknown', armed: null, bytesBehind: null, unknownBecause: expect.stringContaining('site') },
      regional: { state: 'streaming' },
    });
    await plane.metro.open();
    await plane.until(`${path}/protection`, agency.apiKey, ({ condition }) => condition === 'armed');
  });

  it('changes reach both sites; removing ends once both have said that nothing is left', async () => {
    const { agency, id } = await plane.protectedWorkload('available');
    const path = `/v1/workloads/${id}/protection`;
    const body = { mode: 'strict', bandwidthBytesPerSecond: 1_000_000, paused: true };
    expect((await plane.api.call('PATCH', path, { token: agency.apiKey, body })).body).toMatchObject({
      ...body,
      condition: 'paused',
    });
    for (const site of [plane.metro, plane.regional]) {
      await site.ordered(
        protectOrder,
        (p) => p.workloadId === id && p.paused && p.bandwidthBytesPerSecond === 1_000_000,
      );
    }
    const inUse = await plane.api.post(`/v1/staff/sites/${plane.metro.id}/retire`, undefined, plane.staff);
    expect(inUse).toMatchObject({ status: 409, body: { code: 'site.in-use' } });
    expect((await plane.api.call('DELETE', `/v1/workloads/${id}`, { token: agency.apiKey })).status).toBe(409);

    expect((await plane.api.call('DELETE', path, { token: agency.apiKey })).status).toBe(204);
    for (const [site, role] of [[plane.metro, 'metro'] as const, [plane.regional, 'regional'] as const]) {
      expect((await plane.api.get(path, agency.apiKey)).body.state).toBe('removing');
      const { order } = await site.ordered(unprotectOrder, ({ workloadId }) => workloadId === id);
      site.workloads = site.workloads.filter(({ workloadId }) => workloadId !== id);
      site.say(unprotectedResult, { workloadId: id, role }, { tenantId: agency.id, orderId: order.id });
    }
    await plane.until(path, agency.apiKey, ({ code }) => code === 'protection.not-found');
    expect(await plane.api.rows(`SELECT FROM standby_health WHERE workload_id = $1`, [id])).toEqual([]);
    expect((await plane.api.call('DELETE', `/v1/workloads/${id}`, { token: agency.apiKey })).status).toBe(204);
  });

  it('clients come from nowhere until their networks are listed, and those may be listed during a failover too', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const id = await plane.checkedWorkload(agency, agent);
    const path = `/v1/workloads/${id}/protection`;
    const made = await plane.api.post(path, { mode: 'strict' }, agency.apiKey);
    expect(made).toMatchObject({ status: 202, body: { clientNetworks: [] } });
    expect(made.body.warnings).toEqual([expect.stringContaining('closed to everybody')]);
    const mine = ({ workloadId }: { workloadId: string }) => workloadId === id;
    // A site that does not know the list yet would refuse the whole order.
    expect((await plane.metro.ordered(protectOrder, mine)).payload).not.toHaveProperty('clientNetworks');

    const change = (body: object) => plane.api.call('PATCH', path, { token: agency.apiKey, body });
    for (const wrong of ['10.20.0.1', '10.20.0.0/33', 'town hall', '0/0']) {
      expect((await change({ clientNetworks: [wrong] })).status).toBe(400);
    }
    const networks = ['10.20.0.0/16', '2001:db8::/48'];
    const listed = await change({ clientNetworks: networks });
    expect(listed).toMatchObject({ status: 202, body: { clientNetworks: networks, warnings: [] } });
    for (const site of [plane.metro, plane.regional]) {
      expect((await site.ordered(clientNetworksOrder, mine)).payload.clientNetworks).toEqual(networks);
    }
    // Later orders carry them on.
    await change({ bandwidthBytesPerSecond: 1_000_000 });
    await plane.metro.ordered(protectOrder, (p) => mine(p) && p.clientNetworks?.length === 2);

    for (const state of ['failing-over', 'failed-over']) {
      await plane.api.rows(`UPDATE protection SET state = $2 WHERE workload_id = $1`, [id, state]);
      expect((await change({ paused: true })).status).toBe(409);
      expect((await change({ paused: true, clientNetworks: networks })).status).toBe(409);
      expect(await change({ clientNetworks: [`10.${state.length}.0.0/16`] })).toMatchObject({ status: 202 });
      await plane.regional.ordered(
        clientNetworksOrder,
        (p) => mine(p) && p.clientNetworks[0] === `10.${state.length}.0.0/16`,
      );
    }
  });

  it('tells the agent which sites serve what as what, from the preflight on until nothing is left', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const self = () => askSelf(agent);
    const made = await plane.api.post('/v1/workloads', { name: 'permits', agentId: agent.id }, agency.apiKey);
    const path = `/v1/workloads/${made.body.id}`;
    expect(await self()).toMatchObject({ workloads: [], preflights: [] });
    const { body } = await plane.api.post(`${path}/protection`, { mode: 'strict' }, agency.apiKey);
    // Only the site that was asked to look may look, and nobody may do anything else yet.
    const looking = await self();
    expect(looking).toMatchObject({ workloads: [], preflights: [{ workloadName: 'permits' }] });
    await plane.answerPreflight(agency, body.preflightId, true);
    const { payload } = await plane.metro.ordered(protectOrder, ({ workloadId }) => workloadId === made.body.id);
    const legs = [
      { siteId: plane.metro.id, role: 'metro' },
      { siteId: plane.regional.id, role: 'regional' },
    ];
    const assigned = [{ workloadId: made.body.id, name: 'permits', names: payload.names, legs }];
    expect(await self()).toMatchObject({ workloads: assigned, preflights: [] });
    await plane.api.call('DELETE', `${path}/protection`, { token: agency.apiKey });
    // The sites still have to clean up at the agency.
    expect((await self()).workloads).toEqual(assigned);
    for (const [site, role] of [[plane.metro, 'metro'] as const, [plane.regional, 'regional'] as const]) {
      const { order } = await site.ordered(unprotectOrder, ({ workloadId }) => workloadId === made.body.id);
      site.say(unprotectedResult, { workloadId: made.body.id, role }, { tenantId: agency.id, orderId: order.id });
    }
    await plane.until(`${path}/protection`, agency.apiKey, ({ code }) => code === 'protection.not-found');
    expect((await self()).workloads).toEqual([]);
  });

  it('a person’s grant to degrade is kept, ordered, and told to the agent; rearm ends it', async () => {
    const { agency, agent, id } = await plane.protectedWorkload();
    const path = `/v1/workloads/${id}/protection`;
    const self = async () => (await askSelf(agent)).degradeGrants;
    const granted = await plane.api.post(
      `${path}/degrade`,
      { seconds: 600, reason: 'The line to the metro is being dug up' },
      agency.apiKey,
    );
    expect(granted).toMatchObject({ status: 202, body: { seconds: 600, epoch: 1 } });
    const { payload } = await plane.metro.ordered(degradeOrder, ({ workloadId }) => workloadId === id);
    expect(payload).toMatchObject({ requestId: granted.body.requestId, seconds: 600 });
    const [open] = await self();
    expect(open).toMatchObject({ workloadId: id, requestId: granted.body.requestId, epoch: 1 });
    expect(open!.secondsLeft).toBeGreaterThan(500);
    await plane.api.post(`${path}/rearm`, {}, agency.apiKey);
    await plane.metro.ordered(rearmOrder, ({ workloadId }) => workloadId === id);
    expect(await self()).toEqual([]);
  });

  it('keeps what sites tell, of their own workloads only, and raises notices', async () => {
    const { agency, id } = await plane.protectedWorkload();
    const other = await plane.protectedWorkload();
    const head = { tenantId: agency.id };
    plane.metro.say(armingChanged, { workloadId: id, armed: false, sinceLsn: '0/5000060', reason: 'asked' }, head);
    // Another agency's workload under this agency's name: the site has nothing to say of it.
    plane.metro.say(armingChanged, { workloadId: other.id, armed: false, sinceLsn: null, reason: 'asked' }, head);
    plane.metro.say(
      divergenceFound,
      {
        workloadId: id,
        epoch: 2,
        forkedAtLsn: '0/5000060',
        endLsn: '0/5000100',
        transactions: [{ xid: '771', committedAt: null, lsn: '0/5000080' }],
        truncated: false,
      },
      head,
    );
    const at = new Date().toISOString();
    plane.metro.say(oldPrimaryFenced, { workloadId: id, epoch: 2, at, evidence: 'stopped, exit code 0' }, head);
    const path = `/v1/workloads/${id}/protection/events`;
    const { items } = await plane.until(path, agency.apiKey, (body) => body.items.length === 3);
    const kinds = items.map(({ kind }) => kind).sort();
    expect(kinds).toEqual(['replication.arming-changed', 'replication.divergence', 'replication.old-primary-fenced']);
    expect(
      (await plane.api.get(`/v1/workloads/${other.id}/protection/events`, other.agency.apiKey)).body.items,
    ).toEqual([]);
    const notices = await plane.until('/v1/notices', agency.apiKey, (body) => body.items?.length >= 3);
    expect(notices.items.map(({ kind }) => kind)).toContain('replication.disarmed');
  });

  it('tells the other site when a gateway moves, and people when an agent’s identity is shown twice', async () => {
    const { agency, agent, id } = await plane.protectedWorkload();
    const gateway = { host: '127.0.0.1', port: 7_444, certificateFingerprint: plane.metro.fingerprint };
    await plane.api.call('PATCH', `/v1/staff/sites/${plane.metro.id}`, { token: plane.staff, body: { gateway } });
    await plane.regional.ordered(protectOrder, (p) => p.workloadId === id && p.peer?.port === 7_444);
    const link = { agentId: agent.id, version: null, roundTripMilliseconds: null };
    plane.metro.say(agentLinkResult, { ...link, state: 'duplicate' }, { tenantId: agency.id });
    const notices = await plane.until('/v1/notices', agency.apiKey, (body) =>
      body.items?.some(({ kind }) => kind === 'agents.duplicate'),
    );
    expect(notices.items[0]!.severity).toBe('alarm');
    const seen = await plane.api.get(`/v1/agents/${agent.id}`, agency.apiKey);
    const there = seen.body.sites.find(({ siteId }) => siteId === plane.metro.id);
    expect(there!.duplicateSeenAt).not.toBeNull();
  });

  it('sets a result aside that can never be applied, and goes on with the next', async () => {
    const { agency, id } = await plane.protectedWorkload();
    const odd = { kind: 'replication.from-the-future', payload: orderFailed.payload };
    plane.metro.say(odd, { kind: 'x', code: 'y', message: 'z' }, { tenantId: agency.id });
    plane.metro.say(
      armingChanged,
      { workloadId: id, armed: true, sinceLsn: null, reason: 'again' },
      { tenantId: agency.id },
    );
    await plane.until(`/v1/workloads/${id}/protection/events`, agency.apiKey, (body) => body.items.length === 1);
    const site = await plane.api.get(`/v1/staff/sites/${plane.metro.id}`, plane.staff);
    expect(site.body.unappliedResults).toBe(1);
  });
});

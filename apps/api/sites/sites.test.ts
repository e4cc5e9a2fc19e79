import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admitAgentOrder, AGENT_AUTHORIZATION_SCHEME, agentProof, revokeAgentOrder } from '#contracts/sites';
import { createKeyPair, signDocument } from '#libs/link';
import { ControlPlane, PLACES } from '#test/control-plane';
import { ScriptedSite } from '#test/scripted-site';

describe('sites and agents', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const enrolment = (token: string, publicKey: string) => ({
    token,
    publicKey,
    hostname: 'permits-db',
    version: '0.1.0',
  });

  it('201 and 409: registers a site once; staff see its state, an agency only what concerns it', async () => {
    const again = await plane.register(plane.metro, 'Another name', PLACES.metro, []);
    expect(again).toMatchObject({ status: 409, body: { code: 'site.known' } });
    const { id } = plane.metro;
    const seen = await plane.until(`/v1/staff/sites/${id}`, plane.staff, (body) => body.state === 'connected');
    expect(seen).toMatchObject({ measured: { diskFreeBytes: 5e11 }, orderEndpoint: { port: plane.metro.port } });

    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const { body } = await plane.api.get(`/v1/sites?agentId=${agent.id}`, agency.apiKey);
    expect(body.items).toMatchObject([
      { id, eligibleAs: ['metro', 'regional'], distanceMiles: 1.3 },
      { id: plane.regional.id, eligibleAs: ['regional'] },
    ]);
    expect(JSON.stringify(body)).not.toContain(String(plane.metro.port));
    expect((await plane.api.get(`/v1/staff/sites/${id}`, agency.apiKey)).status).toBe(401);
  });

  it('measured round trips make a far site a metro', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const link = { connectedSince: new Date().toISOString(), lanes: ['sync' as const] };
    plane.regional.agents = [{ agentId: agent.id, ...link, roundTripMilliseconds: 0.8 }];
    await plane.until(`/v1/agents/${agent.id}`, agency.apiKey, (body) => body.state === 'connected');
    const { body } = await plane.api.get(`/v1/sites?agentId=${agent.id}`, agency.apiKey);
    expect(body.items[1]).toMatchObject({ id: plane.regional.id, eligibleAs: ['metro', 'regional'] });
    plane.regional.agents = [];
    await plane.until(`/v1/agents/${agent.id}`, agency.apiKey, (silent) => silent.state === 'silent');
  });

  it('201 once for two agents that use one token at the same moment; its own repetition gets the same answer', async () => {
    const agency = await plane.api.agency();
    const { body } = await plane.api.post('/v1/enrolment-tokens', { name: 'hall' }, agency.apiKey);
    const keys = [createKeyPair(), createKeyPair()];
    const both = await Promise.all(
      keys.map(({ publicKey }) => plane.api.post('/v1/agents/enrol', enrolment(body.token, publicKey))),
    );
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect(both.find(({ status }) => status === 409)?.body.code).toBe('enrolment-token.used');
    const winner = both.findIndex(({ status }) => status === 201);
    const repeated = await plane.api.post('/v1/agents/enrol', enrolment(body.token, keys[winner]!.publicKey));
    expect(repeated).toMatchObject({ status: 201, body: both[winner]!.body });
    const rows = await plane.api.rows(`SELECT FROM agent WHERE tenant_id = $1`, [agency.id]);
    expect(rows).toHaveLength(1);
    const { payload } = await plane.metro.ordered(admitAgentOrder, (p) => p.agentId === repeated.body.agentId);
    expect(payload.publicKey).toBe(keys[winner]!.publicKey);
    const stored = await plane.api.rows<{ text: string }>(`SELECT t::text AS text FROM enrolment_token t`);
    expect(stored.some(({ text }) => text.includes(body.token))).toBe(false);
  });

  it('401 for a token of a suspended agency, which counts again once the agency does', async () => {
    const agency = await plane.api.agency();
    const { body } = await plane.api.post('/v1/enrolment-tokens', { name: 'hall' }, agency.apiKey);
    const staff = (what: string) =>
      plane.api.post(`/v1/staff/agencies/${agency.id}/${what}`, { reason: 'unpaid' }, plane.staff);
    const enrol = () => plane.api.post('/v1/agents/enrol', enrolment(body.token, createKeyPair().publicKey));
    await staff('suspend');
    expect((await enrol()).body.code).toBe('enrolment-token.unknown');
    await staff('resume');
    expect((await enrol()).status).toBe(201);
  });

  it('409 past a hundred open tokens, a hundred agents and five hundred workloads of one agency', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const token = () => plane.api.post('/v1/enrolment-tokens', { name: 'hall' }, agency.apiKey);
    const spares = [(await token()).body.token as string, (await token()).body.token as string];
    await plane.api.rows(
      `INSERT INTO workload (tenant_id, id, kind, name, agent_id)
       SELECT $1, gen_random_uuid(), 'postgresql', 'w' || n, $2 FROM generate_series(1, 500) n`,
      [agency.id, agent.id],
    );
    const workload = await plane.api.post('/v1/workloads', { name: 'one-more', agentId: agent.id }, agency.apiKey);
    expect([workload.status, workload.body.code]).toEqual([409, 'quota.reached']);
    await plane.api.rows(
      `INSERT INTO agent SELECT (jsonb_populate_record(a, jsonb_build_object('id', gen_random_uuid()))).*
         FROM agent a, generate_series(1, 98) WHERE a.id = $1`,
      [agent.id],
    );
    // Two for the last place.
    const enrolled = await Promise.all(
      spares.map((spare) => plane.api.post('/v1/agents/enrol', enrolment(spare, createKeyPair().publicKey))),
    );
    expect(enrolled.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect(enrolled.find(({ status }) => status === 409)?.body.code).toBe('quota.reached');
    for (let i = 0; i < 99; i++) expect((await token()).status).toBe(201);
    expect((await token()).body.code).toBe('quota.reached');
  });

  it('401 and 409 for a token that is unknown, expired, withdrawn or made by a key that has expired', async () => {
    const agency = await plane.api.agency();
    const make = async () => (await plane.api.post('/v1/enrolment-tokens', { name: 'hall' }, agency.apiKey)).body;
    const use = async (token: string) => {
      const { status, body } = await plane.api.post('/v1/agents/enrol', enrolment(token, createKeyPair().publicKey));
      return [status, body.code];
    };
    expect(await use('mainstay_enrol_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA')).toEqual([401, 'enrolment-token.unknown']);
    const old = await make();
    await plane.api.rows(`UPDATE enrolment_token SET expires_at = now() - interval '1 second' WHERE id = $1`, [old.id]);
    expect(await use(old.token)).toEqual([409, 'enrolment-token.expired']);
    const withdrawn = await make();
    await plane.api.call('DELETE', `/v1/enrolment-tokens/${withdrawn.id}`, { token: agency.apiKey });
    expect(await use(withdrawn.token)).toEqual([409, 'enrolment-token.expired']);
    const orphan = await make();
    await plane.api.rows(`UPDATE api_key SET expires_at = now() - interval '1 second' WHERE tenant_id = $1`, [
      agency.id,
    ]);
    expect(await use(orphan.token)).toEqual([409, 'enrolment-token.expired']);
  });

  it('200 for an agent that signs a challenge; 401 for any other; revocation reaches the sites at once', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const path = '/v1/agents/self';
    const ask = async (key: string, challenge?: string) => {
      const fresh = challenge ?? (await plane.api.post('/v1/agents/challenge', undefined)).body.challenge;
      const signature = signDocument(agentProof(agent.id, fresh, path), key);
      const authorization = `${AGENT_AUTHORIZATION_SCHEME} ${agent.id}:${fresh}:${signature}`;
      return plane.api.call('GET', path, { headers: { authorization } });
    };
    const answered = await ask(agent.keys.privateKey);
    expect(answered).toMatchObject({ status: 200, body: { agentId: agent.id, tenantId: agency.id } });
    expect(answered.body.sites.map((site) => site.siteId)).toEqual([plane.metro.id, plane.regional.id]);
    expect((await ask(createKeyPair().privateKey)).status).toBe(401);
    expect((await ask(agent.keys.privateKey, 'A'.repeat(75))).status).toBe(401);

    await plane.api.post(`/v1/agents/${agent.id}/revoke`, undefined, agency.apiKey);
    const ordered = [plane.metro, plane.regional].map((site) =>
      site.ordered(revokeAgentOrder, ({ agentId }) => agentId === agent.id),
    );
    await Promise.all(ordered);
    expect(await ask(agent.keys.privateKey)).toMatchObject({ status: 403, body: { code: 'agent.revoked' } });
  });

  it('404 for another agency’s agent and token', async () => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const other = await plane.api.agency();
    expect((await plane.api.get(`/v1/agents/${agent.id}`, other.apiKey)).status).toBe(404);
    expect((await plane.api.post(`/v1/agents/${agent.id}/revoke`, undefined, other.apiKey)).status).toBe(404);
    expect((await plane.api.get(`/v1/sites?agentId=${agent.id}`, other.apiKey)).status).toBe(404);
  });

  it('keeps orders for a site that is gone and delivers them once, in their order, when it is back', async () => {
    const agency = await plane.api.agency();
    await plane.regional.cut();
    const before = plane.regional.orders.length;
    const agents = [await plane.enrol(agency), await plane.enrol(agency), await plane.enrol(agency)];
    await plane.until(`/v1/staff/sites/${plane.regional.id}`, plane.staff, (body) => body.pendingOrders >= 3);
    await plane.regional.open();
    await plane.until(`/v1/staff/sites/${plane.regional.id}`, plane.staff, (body) => body.pendingOrders === 0);
    const delivered = plane.regional.orders.slice(before).map(({ payload }) => payload['agentId']);
    expect(delivered).toEqual(agents.map(({ id }) => id));
    const numbers = plane.regional.orders.map(({ number }) => number);
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
  });

  it('an impostor with the right certificate authority but another certificate gets no order', async () => {
    const { authority, signing } = plane as unknown as { authority: never; signing: { publicKey: string } };
    const impostor = await ScriptedSite.start(authority, signing.publicKey);
    await plane.metro.cut();
    await impostor.cut();
    Object.assign(impostor, { port: plane.metro.port });
    await impostor.open();
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    await plane.until(`/v1/staff/sites/${plane.metro.id}`, plane.staff, (body) => body.lastError !== null);
    expect(impostor.arrivals).toBe(0);
    await impostor.cut();
    await plane.metro.open();
    await plane.metro.ordered(admitAgentOrder, ({ agentId }) => agentId === agent.id);
  });
});

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failoverOrder } from '#contracts/failover';
import { armingChanged, degradeOrder, rearmOrder } from '#contracts/replication';
import { AGENT_AUTHORIZATION_SCHEME, agentProof } from '#contracts/sites';
import { signDocument } from '#libs/link';
import { ControlPlane, type ProtectedWorkload } from '#test/control-plane';

describe('the regional site as the synchronous one', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const reason = 'The metro site is lost';
  const path = ({ id }: ProtectedWorkload, rest = '') => `/v1/workloads/${id}/protection${rest}`;
  const degrade = (workload: ProtectedWorkload, body: Record<string, unknown> = {}) =>
    plane.api.post(path(workload, '/degrade'), { seconds: 600, reason, ...body }, workload.agency.apiKey);
  const rearm = (workload: ProtectedWorkload) =>
    plane.api.post(path(workload, '/rearm'), undefined, workload.agency.apiKey);
  const change = (workload: ProtectedWorkload, body: Record<string, unknown>) =>
    plane.api.call('PATCH', path(workload), { token: workload.agency.apiKey, body });
  /** As both sites measure it, and the control plane shows it. */
  async function led(workload: ProtectedWorkload, leader: 'metro' | 'regional'): Promise<void> {
    plane.measure(workload.id, workload.agency.id, true, leader);
    await plane.until(
      path(workload),
      workload.agency.apiKey,
      ({ synchronousSite, [leader]: leg }) => synchronousSite === leader && leg.armed === true,
    );
  }
  async function self({ agent }: ProtectedWorkload) {
    const { challenge } = (await plane.api.post('/v1/agents/challenge', undefined)).body;
    const signature = signDocument(agentProof(agent.id, challenge, '/v1/agents/self'), agent.keys.privateKey);
    const authorization = `${AGENT_AUTHORIZATION_SCHEME} ${agent.id}:${challenge}:${signature}`;
    return (await plane.api.call('GET', '/v1/agents/self', { headers: { authorization } })).body;
  }
  const declare = async (workload: ProtectedWorkload, body: Record<string, unknown> = {}) => {
    const declared = await plane.api.post(
      `/v1/workloads/${workload.id}/failovers`,
      { reason, acceptLoss: { kind: 'none' }, oldServer: 'not-asked', ...body },
      workload.agency.apiKey,
      randomUUID(),
    );
    expect(declared).toMatchObject({ status: 202 });
    const site = declared.body.siteId === plane.metro.id ? plane.metro : plane.regional;
    return { site, ...(await site.ordered(failoverOrder, ({ runId }) => runId === declared.body.id)) };
  };

  it('202: a grant to the regional site is ordered at both sites, served to the agent apart, and audited', async () => {
    const workload = await plane.protectedWorkload();
    const granted = await degrade(workload, { to: 'regional' });
    expect(granted).toMatchObject({ status: 202, body: { to: 'regional', seconds: 600, epoch: 1 } });
    const { requestId } = granted.body;
    for (const site of [plane.metro, plane.regional]) {
      const { payload } = await site.ordered(degradeOrder, ({ workloadId }) => workloadId === workload.id);
      expect(payload).toMatchObject({ requestId, to: 'regional', seconds: 600 });
    }
    // An agent that knows no other grant than to go on alone must not take this one for it.
    expect(await self(workload)).toMatchObject({ degradeGrants: [], moveGrants: [{ requestId, to: 'regional' }] });
    const audit = await plane.api.get('/v1/audit?action=protection.degrade-granted', workload.agency.owner);
    expect(audit.body.items[0]!.detail).toMatchObject({ requestId, to: 'regional' });

    const back = await rearm(workload);
    expect(back).toMatchObject({ status: 202, body: { to: null, seconds: null } });
    await plane.regional.ordered(rearmOrder, ({ workloadId }) => workloadId === workload.id);
    expect(await self(workload)).toMatchObject({
      degradeGrants: [],
      moveGrants: [{ requestId: back.body.requestId, to: 'metro' }],
    });
    // The newest word counts.
    expect((await degrade(workload)).body.to).toBe('alone');
    const alone = await plane.metro.ordered(degradeOrder, (p) => p.workloadId === workload.id && p.to === undefined);
    expect(await self(workload)).toMatchObject({
      degradeGrants: [{ requestId: alone.payload.requestId }],
      moveGrants: [],
    });
  });

  it('409 for what would stop the site that production waits for; rearm and the metro’s measurement end that', async () => {
    const workload = await plane.protectedWorkload();
    await degrade(workload, { to: 'regional' });
    const refused = { status: 409, body: { code: 'protection.regional-synchronous' } };
    // It may become the synchronous one at any moment.
    expect(await change(workload, { paused: true })).toMatchObject(refused);
    await led(workload, 'regional');
    expect(await change(workload, { paused: true })).toMatchObject(refused);
    expect(await change(workload, { mode: 'available' })).toMatchObject(refused);
    expect((await change(workload, { bandwidthBytesPerSecond: 1_000_000 })).status).toBe(202);
    await rearm(workload);
    expect(await change(workload, { paused: true })).toMatchObject(refused);
    await led(workload, 'metro');
    expect((await change(workload, { mode: 'available' })).status).toBe(202);
    expect((await change(workload, { paused: true })).status).toBe(202);
    expect((await change(workload, { paused: false })).status).toBe(202);
    expect((await change(workload, { paused: true })).status).toBe(202);
    expect(await degrade(workload, { to: 'regional' })).toMatchObject({
      status: 409,
      body: { code: 'protection.not-ready' },
    });
  });

  it('shows which site leads, declares there first, and says what the grants prove about it', async () => {
    const workload = await plane.protectedWorkload();
    expect((await plane.api.get(path(workload), workload.agency.apiKey)).body.synchronousSite).toBe('metro');
    await degrade(workload, { to: 'regional' });
    await led(workload, 'regional');
    const shown = (await plane.api.get(path(workload), workload.agency.apiKey)).body;
    expect(shown).toMatchObject({ condition: 'armed', metro: { armed: null }, regional: { armed: true } });
    const preview = await plane.api.post(`/v1/workloads/${workload.id}/failovers/preview`, {}, workload.agency.apiKey);
    expect(preview.body.siteId).toBe(plane.regional.id);
    const { site, payload } = await declare(workload);
    expect(site).toBe(plane.regional);
    expect(payload).toMatchObject({ noDegradeGranted: true, regionalGranted: true });
  });

  it('nothing is proved of the metro by any grant, nor of the regional by any but those to itself', async () => {
    const ACCEPTED = { acceptLoss: { kind: 'unknown' }, oldServer: 'unknown' };
    const at = async (grants: (workload: ProtectedWorkload) => Promise<unknown>, site: 'metro' | 'regional') => {
      const workload = await plane.protectedWorkload();
      await grants(workload);
      const { payload } = await declare(workload, { ...ACCEPTED, siteId: plane[site].id });
      return { none: payload.noDegradeGranted, regional: payload.regionalGranted ?? false };
    };
    const regional = (workload: ProtectedWorkload) => degrade(workload, { to: 'regional' });
    const twice = async (workload: ProtectedWorkload) => [await regional(workload), await regional(workload)];
    const returned = async (workload: ProtectedWorkload) => [
      await regional(workload),
      await rearm(workload),
      await regional(workload),
    ];
    const aloneFirst = async (workload: ProtectedWorkload) => [await degrade(workload), await regional(workload)];
    expect(await at(regional, 'metro')).toEqual({ none: false, regional: true });
    expect(await at(twice, 'regional')).toEqual({ none: true, regional: true });
    // What was given before the newest grant may still be on its way.
    expect(await at(returned, 'regional')).toEqual({ none: false, regional: true });
    expect(await at(aloneFirst, 'regional')).toEqual({ none: false, regional: true });
    expect(await at(rearm, 'regional')).toEqual({ none: true, regional: false });
    expect(await at(rearm, 'metro')).toEqual({ none: true, regional: false });
  });

  it('notices name the site that is armed', async () => {
    const { agency, id } = await plane.protectedWorkload();
    plane.regional.say(
      armingChanged,
      { workloadId: id, armed: true, sinceLsn: '0/5000060', reason: 'asked' },
      { tenantId: agency.id },
    );
    const { items } = await plane.until('/v1/notices', agency.apiKey, (body) => body.items?.length >= 1);
    expect(items[0]).toMatchObject({ kind: 'replication.armed', text: expect.stringContaining('regional site') });
  });
});

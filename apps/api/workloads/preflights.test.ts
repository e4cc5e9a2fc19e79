import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { preflightOrder } from '#contracts/replication';
import { ControlPlane } from '#test/control-plane';

describe('preflights under way', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  async function setUp() {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const workload = async (name: string): Promise<string> => {
      const made = await plane.api.post('/v1/workloads', { name, agentId: agent.id }, agency.apiKey);
      return `/v1/workloads/${made.body.id}`;
    };
    const start = (path: string) => plane.api.post(`${path}/preflights`, undefined, agency.apiKey);
    return { agency, workload, start };
  }

  it('409: one of a workload at once, until it has been answered', async () => {
    const { agency, workload, start } = await setUp();
    const path = await workload('permits');
    const first = await start(path);
    expect(first.status).toBe(202);
    expect(await start(path)).toMatchObject({
      status: 409,
      body: { code: 'preflight.open', facts: { preflightId: first.body.id } },
    });
    await plane.answerPreflight(agency, first.body.id, false);
    await plane.until(`${path}/preflights/${first.body.id}`, agency.apiKey, ({ state }) => state === 'blocked');
    expect((await start(path)).status).toBe(202);
  });

  it('202: a protection goes on with the preflight that is under way', async () => {
    const { agency, workload, start } = await setUp();
    const path = await workload('permits');
    const { body } = await start(path);
    const made = await plane.api.post(`${path}/protection`, { mode: 'available' }, agency.apiKey);
    expect(made).toMatchObject({ status: 202, body: { state: 'checking', preflightId: body.id } });
    await plane.answerPreflight(agency, body.id, true);
    await plane.until(`${path}/protection`, agency.apiKey, ({ state }) => state === 'protecting');
    const asked = [...plane.metro.orders, ...plane.regional.orders].filter(
      ({ kind, tenantId }) => kind === preflightOrder.kind && tenantId === agency.id,
    );
    expect(asked).toHaveLength(1);
  });

  it('429: ten of an agency at once, however many workloads it has', async () => {
    const { workload, start } = await setUp();
    for (let count = 0; count < 10; count += 1) expect((await start(await workload(`w-${count}`))).status).toBe(202);
    expect(await start(await workload('one-more'))).toMatchObject({
      status: 429,
      body: { code: 'preflight.too-many', facts: { most: 10 } },
    });
    const other = await setUp();
    expect((await other.start(await other.workload('permits'))).status).toBe(202);
  });
});

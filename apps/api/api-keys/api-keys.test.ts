import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestAgency, TestApi } from '#test/api';

describe('API keys', () => {
  let api: TestApi;
  let agency: TestAgency;
  beforeAll(async () => {
    api = await TestApi.start();
    agency = await api.agency();
  });
  afterAll(() => api.close());

  const make = (token: string, scopes: string[]) => api.post('/v1/api-keys', { name: 'script', scopes }, token);

  it('201 shows the key once; the database holds its hash alone, and no later answer shows it', async () => {
    const made = await make(agency.owner, ['agency:read']);
    expect(made.status).toBe(201);
    expect(made.body.key).toMatch(/^mainstay_test_[0-9a-f]{32}_[\w-]{43}$/);
    const secret = made.body.key.split('_').slice(3).join('_');
    const everything = JSON.stringify([
      await api.rows('SELECT * FROM api_key'),
      await api.rows('SELECT * FROM audit_entry'),
      (await api.get(`/v1/api-keys/${made.body.id}`, agency.owner)).body,
      (await api.get('/v1/api-keys', agency.owner)).body,
    ]);
    expect(everything).not.toContain(secret);
    expect((await api.get('/v1/agency', made.body.key)).status).toBe(200);
    const used = await api.get(`/v1/api-keys/${made.body.id}`, agency.owner);
    expect(used.body.lastUsedAt).not.toBeNull();
  });

  it('403 outside its scopes; 401 for a wrong secret, another environment, an expired and a revoked key', async () => {
    const { body } = await make(agency.owner, ['agency:read']);
    expect((await api.get('/v1/members', body.key)).body).toMatchObject({
      code: 'scope.missing',
      facts: { scope: 'members:read' },
    });
    const status = async (key: string): Promise<number> => (await api.get('/v1/agency', key)).status;
    expect(await status(`${body.key.slice(0, -2)}zz`)).toBe(401);
    expect(await status(body.key.replace('_test_', '_live_'))).toBe(401);
    await api.rows(`UPDATE api_key SET expires_at = now() WHERE id = $1`, [body.id]);
    expect(await status(body.key)).toBe(401);
    await api.rows(`UPDATE api_key SET expires_at = now() + interval '1 day' WHERE id = $1`, [body.id]);
    expect(await status(body.key)).toBe(200);
    expect((await api.call('DELETE', `/v1/api-keys/${body.id}`, { token: agency.owner })).status).toBe(204);
    expect(await status(body.key)).toBe(401);
  });

  it('409 past two hundred keys in force and five hundred essential functions of one agency; what has ended does not count', async () => {
    const one = await api.agency();
    const { body } = await make(one.owner, ['agency:read']);
    await api.rows(
      `INSERT INTO api_key SELECT (jsonb_populate_record(k, jsonb_build_object('id', gen_random_uuid()))).*
         FROM api_key k, generate_series(1, 198) WHERE k.id = $1`,
      [body.id],
    );
    // The agency came with one key already.
    expect(await make(one.owner, ['agency:read'])).toMatchObject({ status: 409, body: { code: 'quota.reached' } });
    await api.call('DELETE', `/v1/api-keys/${body.id}`, { token: one.owner });
    expect((await make(one.owner, ['agency:read'])).status).toBe(201);

    await api.rows(
      `INSERT INTO essential_function (tenant_id, id, name, mtd_seconds, rto_seconds, rpo_seconds, priority)
       SELECT $1, gen_random_uuid(), 'f' || n, 3600, 60, 60, 1 FROM generate_series(1, 500) n`,
      [one.id],
    );
    const objectives = { mtdSeconds: 3_600, rtoSeconds: 60, rpoSeconds: 60, priority: 1 };
    const more = await api.post('/v1/functions', { name: 'One more', ...objectives }, one.owner);
    expect(more).toMatchObject({ status: 409, body: { code: 'quota.reached', facts: { most: 500 } } });
  });

  it('403 for a key with failovers:declare unless its maker may declare, and for scopes of persons only', async () => {
    const plain = await api.member(agency, 'owner', false);
    expect((await make(plain.token, ['failovers:declare'])).body).toMatchObject({
      code: 'api-key.scopes',
      facts: { scopes: ['failovers:declare'] },
    });
    expect((await make(agency.owner, ['failovers:declare'])).status).toBe(201);
    expect((await make(agency.owner, ['members:write'])).status).toBe(403);
    expect((await make(agency.apiKey, ['agency:read'])).status).toBe(403);
  });

  it('loses the authority to declare when its maker does, and has it again when it is given back', async () => {
    const maker = await api.member(agency, 'owner', true);
    const { body } = await make(maker.token, ['agency:read', 'failovers:declare']);
    const mayDeclare = async (): Promise<boolean> => (await api.get('/v1/sessions/current', body.key)).body.mayDeclare;
    const set = (to: boolean) =>
      api.call('PATCH', `/v1/members/${maker.id}`, { token: agency.owner, body: { mayDeclare: to } });
    expect(await mayDeclare()).toBe(true);
    await set(false);
    expect(await mayDeclare()).toBe(false);
    await set(true);
    expect(await mayDeclare()).toBe(true);
  });
});

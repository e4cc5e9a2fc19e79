import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_PASSWORD, type TestAgency, TestApi } from '#test/api';
import { authenticatorCode } from '#test/authenticator';

describe('the provider’s staff', () => {
  let api: TestApi;
  let agency: TestAgency;
  let administrator: string;
  beforeAll(async () => {
    api = await TestApi.start();
    agency = await api.agency();
    administrator = await api.staff('administrator');
  });
  afterAll(() => api.close());

  it('200 for a look into an agency, which is an entry of that agency’s own log; 404 leaves none', async () => {
    expect((await api.get(`/v1/staff/agencies/${agency.id}`, administrator)).body).toMatchObject({ id: agency.id });
    const { body } = await api.get('/v1/audit?action=staff.looked', agency.owner);
    expect(body.items).toMatchObject([{ actorKind: 'staff', action: 'staff.looked', detail: { what: 'agency' } }]);
    const absent = '5f0c2c1e-7d43-4b0e-8d62-0e3a54a5b001';
    expect((await api.get(`/v1/staff/agencies/${absent}`, administrator)).status).toBe(404);
    expect(await api.rows(`SELECT FROM audit_entry WHERE tenant_id = $1`, [absent])).toEqual([]);
  });

  it('401 for staff who sign in as members, and for members who sign in as staff', async () => {
    const email = 'both@mainstay.example';
    await api.post('/v1/staff/members', { email, name: 'Bo', role: 'support', password: TEST_PASSWORD }, administrator);
    expect((await api.post('/v1/sessions', { email, password: TEST_PASSWORD })).status).toBe(401);
    expect((await api.post('/v1/staff/sessions', { email: agency.email, password: TEST_PASSWORD })).status).toBe(401);
    expect((await api.post('/v1/staff/sessions', { email, password: TEST_PASSWORD })).status).toBe(201);
  });

  it('403 for what needs a higher role', async () => {
    const [support, operator] = [await api.staff('support'), await api.staff('operator')];
    const reason = { reason: 'unpaid' };
    expect((await api.post(`/v1/staff/agencies/${agency.id}/suspend`, reason, support)).body.code).toBe(
      'staff.role-missing',
    );
    for (const token of [support, operator]) expect((await api.get('/v1/staff/members', token)).status).toBe(403);
  });

  it('200 to suspend: people and keys are out at once, and in again when it is resumed', async () => {
    const town = await api.agency();
    const suspend = (what: string) =>
      api.post(`/v1/staff/agencies/${town.id}/${what}`, { reason: 'test' }, administrator);
    expect((await suspend('suspend')).status).toBe(200);
    for (const token of [town.owner, town.apiKey]) expect((await api.get('/v1/agency', token)).status).toBe(401);
    expect((await suspend('resume')).status).toBe(200);
    for (const token of [town.owner, town.apiKey]) expect((await api.get('/v1/agency', token)).status).toBe(200);
  });

  it('204 to disable, at once; 409 for the last administrator', async () => {
    const { body } = await api.post(
      '/v1/staff/members',
      { email: 'leaver@mainstay.example', name: 'Lee', role: 'support', password: TEST_PASSWORD },
      administrator,
    );
    const { token } = (await api.post('/v1/staff/sessions', { email: body.email, password: TEST_PASSWORD })).body;
    expect((await api.call('DELETE', `/v1/staff/members/${body.id}`, { token: administrator })).status).toBe(204);
    expect((await api.get('/v1/staff/agencies', token)).status).toBe(401);
    const me = (await api.get('/v1/staff/sessions/current', administrator)).body.id;
    expect((await api.call('DELETE', `/v1/staff/members/${me}`, { token: administrator })).body.code).toBe(
      'staff.last-administrator',
    );
    const log = await api.get('/v1/staff/audit', administrator);
    expect(log.body.items.map(({ action }) => action)).toContain('staff.disabled');
  });

  it('an operator or administrator does nothing before a second factor is set up, and signs in by it from then on', async () => {
    const { id, email } = await api.staffMember('operator');
    const credentials = { email, password: TEST_PASSWORD };
    const first = (await api.post('/v1/staff/sessions', credentials)).body;
    const other = (await api.post('/v1/staff/sessions', credentials)).body.token;
    expect(first.caller).toMatchObject({ role: 'operator', secondFactor: false });
    const suspend = (token: string) => api.post(`/v1/staff/agencies/${agency.id}/suspend`, { reason: 'test' }, token);
    expect((await suspend(first.token)).body.code).toBe('staff.second-factor-needed');
    expect((await api.get('/v1/staff/agencies', first.token)).status).toBe(403);
    expect((await api.get('/v1/staff/sessions/current', first.token)).status).toBe(200);
    const { token, uri } = await api.setUpAuthenticator(first.token);
    expect((await api.get('/v1/staff/agencies', token)).status).toBe(200);
    // A session of before the second factor is none of after it.
    expect((await api.get('/v1/staff/agencies', other)).status).toBe(401);
    expect((await api.post('/v1/staff/sessions', credentials)).body.code).toBe('session.code-required');
    const code = authenticatorCode(uri, 1);
    expect((await api.post('/v1/staff/sessions', { ...credentials, code })).status).toBe(201);
    expect((await api.post('/v1/staff/sessions', { ...credentials, code })).body.code).toBe('session.code-wrong');
    // Lost: an administrator takes it away, and it must be set up anew.
    const lost = (by: string) => api.call('DELETE', `/v1/staff/members/${id}/two-factor`, { token: by });
    expect((await lost(token)).status).toBe(403);
    expect((await lost(administrator)).status).toBe(204);
    expect((await api.get('/v1/staff/agencies', token)).status).toBe(401);
    const anew = (await api.post('/v1/staff/sessions', credentials)).body;
    expect((await api.get('/v1/staff/agencies', anew.token)).body.code).toBe('staff.second-factor-needed');
    const log = await api.get('/v1/staff/audit', administrator);
    const actions = log.body.items.map(({ action }) => action);
    expect(actions).toEqual(expect.arrayContaining(['two-factor.set-up', 'staff.second-factor-reset']));
  });

  it('support, who can change nothing, may look without one', async () => {
    const { email } = await api.staffMember('support');
    const { token } = (await api.post('/v1/staff/sessions', { email, password: TEST_PASSWORD })).body;
    expect((await api.get('/v1/staff/agencies', token)).status).toBe(200);
  });
});

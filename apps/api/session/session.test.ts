import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_PASSWORD, type TestAgency, TestApi } from '#test/api';
import { authenticatorCode } from '#test/authenticator';

describe('sessions', () => {
  let api: TestApi;
  let agency: TestAgency;
  beforeAll(async () => {
    api = await TestApi.start();
    agency = await api.agency();
  });
  afterAll(() => api.close());

  it('201 for the right password; 401 alike for a wrong one and an unknown address', async () => {
    expect(await api.post('/v1/sessions', { email: agency.email, password: TEST_PASSWORD })).toMatchObject({
      status: 201,
      body: { token: expect.any(String), caller: { agencyId: agency.id, kind: 'member', role: 'owner' } },
    });
    const wrong = await api.post('/v1/sessions', { email: agency.email, password: 'something else entirely' });
    const unknown = await api.post('/v1/sessions', { email: 'nobody@elm.example', password: TEST_PASSWORD });
    expect([wrong.status, wrong.body.code, wrong.body.detail]).toEqual([401, 'session.refused', unknown.body.detail]);
    expect(unknown.body.code).toBe(wrong.body.code);
  });

  it('204 on signing out, and 401 from then on', async () => {
    const token = await api.signIn(agency.email);
    expect((await api.call('DELETE', '/v1/sessions/current', { token })).status).toBe(204);
    expect((await api.get('/v1/agency', token)).status).toBe(401);
  });

  it('401 for an expired session and for a token that another server signed', async () => {
    const token = await api.signIn(agency.email);
    await api.rows(`UPDATE auth.session SET "expiresAt" = now() WHERE token = $1`, [token.split('.')[0]]);
    expect((await api.get('/v1/agency', token)).status).toBe(401);
    const [row] = await api.rows<{ token: string }>(`SELECT token FROM auth.session LIMIT 1`);
    expect((await api.get('/v1/agency', row?.token)).status).toBe(401);
    expect((await api.get('/v1/agency', `${row?.token}.${'A'.repeat(43)}=`)).status).toBe(401);
  });

  it('a cookie session: no token for scripts, and 403 for what another site sends with it', async () => {
    const opened = await api.post('/v1/sessions', {
      email: agency.email,
      password: TEST_PASSWORD,
      transport: 'cookie',
    });
    expect(opened.body.token).toBeNull();
    const setCookie = opened.headers.get('set-cookie') ?? '';
    expect(setCookie).toMatch(/^mainstay_session=.+; Path=\/; HttpOnly; SameSite=Lax; Max-Age=\d+$/);
    const cookie = setCookie.split(';')[0] ?? '';
    const patch = (headers: Record<string, string>) =>
      api.call('PATCH', '/v1/agency', { body: { contactName: 'Ada C.' }, headers: { cookie, ...headers } });
    expect((await api.call('GET', '/v1/agency', { headers: { cookie } })).status).toBe(200);
    expect((await patch({ origin: 'http://mainstay.test' })).status).toBe(200);
    expect((await patch({ origin: 'https://evil.example' })).body.code).toBe('origin.foreign');
    expect((await patch({})).status).toBe(403);
  });

  it('429 after ten refusals, with Retry-After', async () => {
    const member = await api.member(agency, 'auditor');
    const wrong = { email: member.email, password: 'wrong wrong wrong' };
    for (let i = 0; i < 10; i++) await api.post('/v1/sessions', wrong);
    const locked = await api.post('/v1/sessions', { ...wrong, password: TEST_PASSWORD });
    expect([locked.status, locked.body.code]).toEqual([429, 'session.locked']);
    expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(60);
  });

  it('a second factor: 201 to begin, 200 to confirm with a renewed token, then 401 without a code', async () => {
    const { email, token } = await api.member(agency, 'operator');
    const begun = await api.post('/v1/sessions/current/two-factor', { password: TEST_PASSWORD }, token);
    expect(begun.status).toBe(201);
    expect(begun.body.backupCodes.length).toBeGreaterThan(5);
    const elsewhere = await api.signIn(email);
    const code = (steps: number): string => authenticatorCode(begun.body.uri, steps);
    const wrong = await api.post('/v1/sessions/current/two-factor/confirm', { code: '000000' }, token);
    expect([wrong.status, wrong.body.code]).toEqual([401, 'session.code-wrong']);
    const confirmed = await api.post('/v1/sessions/current/two-factor/confirm', { code: code(0) }, token);
    expect(confirmed.status).toBe(200);
    expect([
      (await api.get('/v1/agency', token)).status,
      (await api.get('/v1/agency', confirmed.body.token)).status,
      (await api.get('/v1/agency', elsewhere)).status,
    ]).toEqual([401, 200, 401]);
    const credentials = { email, password: TEST_PASSWORD };
    expect((await api.post('/v1/sessions', credentials)).body.code).toBe('session.code-required');
    // A code counts once: the one that ended the set-up is used up, and so is each that has signed somebody in.
    const withCode = async (steps: number) =>
      (await api.post('/v1/sessions', { ...credentials, code: code(steps) })).status;
    expect([await withCode(0), await withCode(1), await withCode(1)]).toEqual([401, 201, 401]);
    const removed = await api.call('DELETE', '/v1/sessions/current/two-factor', {
      token: confirmed.body.token,
      body: { password: TEST_PASSWORD },
    });
    expect(removed.status).toBe(200);
    expect((await api.post('/v1/sessions', credentials)).status).toBe(201);
    expect((await api.post('/v1/sessions/current/two-factor', { password: 'x' }, agency.apiKey)).status).toBe(403);
  });

  it('the same answer again for a repeated sign-in under one key, which the database does not hold in clear', async () => {
    const key = 'one-sign-in-only';
    const credentials = { email: agency.email, password: TEST_PASSWORD };
    const [first, second] = [
      await api.post('/v1/sessions', credentials, undefined, key),
      await api.post('/v1/sessions', credentials, undefined, key),
    ];
    expect(second.body).toEqual(first.body);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    const rows = JSON.stringify(await api.rows(`SELECT encode(answer, 'escape'), caller FROM idempotency_key`));
    expect(rows).not.toContain(first.body.token.split('.')[0]);
  });

  it('202 alike for a password reset of a known and an unknown address; the token changes it once, and ends all sessions', async () => {
    const member = await api.member(agency, 'operator');
    const [known, unknown] = [
      await api.post('/v1/password-resets', { email: member.email }),
      await api.post('/v1/password-resets', { email: 'nobody@elm.example' }),
    ];
    expect([known.status, known.text]).toEqual([202, unknown.text]);
    const token = await api.mailedToken(member.email);
    const weak = await api.post('/v1/password-resets/confirm', { token, password: 'short' });
    expect(weak.body.code).toBe('password.unfit');
    const password = 'nine kites over mud';
    expect((await api.post('/v1/password-resets/confirm', { token, password })).status).toBe(204);
    expect((await api.post('/v1/password-resets/confirm', { token, password })).body.code).toBe('token.invalid');
    expect((await api.get('/v1/agency', member.token)).status).toBe(401);
    expect((await api.post('/v1/sessions', { email: member.email, password: TEST_PASSWORD })).status).toBe(401);
    expect((await api.get('/v1/agency', await api.signIn(member.email, password))).status).toBe(200);
    const { body } = await api.get(`/v1/audit?subjectId=${member.id}`, agency.owner);
    expect(body.items.map(({ action }) => action)).toContain('password.reset');
  });

  it('asking for a password again voids no mailed token, five are open at most, and the one that is used voids the others', async () => {
    const member = await api.member(agency, 'operator');
    const ask = async (): Promise<string> => {
      await api.post('/v1/password-resets', { email: member.email });
      return api.mailedToken(member.email);
    };
    const first = await ask();
    // Within the minute nothing is mailed.
    expect(await ask()).toBe(first);
    const tokens = [first];
    for (let more = 0; more < 6; more++) {
      await api.rows(`UPDATE auth.password_reset SET mailed_at = mailed_at - interval '1 minute'`);
      tokens.push(await ask());
    }
    expect(new Set(tokens).size).toBe(5);
    const use = (token: string) => api.post('/v1/password-resets/confirm', { token, password: 'nine kites over mud' });
    const both = await Promise.all([use(first), use(tokens[1]!)]);
    expect(both.map(({ status }) => status).sort()).toEqual([204, 422]);
    for (const token of tokens) expect((await use(token)).body.code).toBe('token.invalid');
  });

  it('a password reset tells the agency which invitations and keys of that person are still in force', async () => {
    const town = await api.agency();
    const member = await api.member(town, 'owner', true);
    await api.apiKey(member.token, ['agency:read', 'failovers:declare']);
    await api.post('/v1/invitations', { email: 'friend@evil.example', role: 'owner' }, member.token);
    await api.post('/v1/password-resets', { email: member.email });
    const token = await api.mailedToken(member.email);
    expect((await api.post('/v1/password-resets/confirm', { token, password: 'nine kites over mud' })).status).toBe(
      204,
    );
    const [event] = await api.rows<{ payload: { kind: string; text: string } }>(
      `SELECT payload FROM outbox_event WHERE tenant_id = $1 AND topic = 'notifications.notice-raised'`,
      [town.id],
    );
    expect(event?.payload.kind).toBe('member.password-reset');
    for (const what of ['friend@evil.example as owner', 'may declare a failover', member.email]) {
      expect(event?.payload.text).toContain(what);
    }
    const [mail] = await api.rows<{ body: string }>(
      `SELECT body FROM mail_message WHERE recipient = $1 AND subject = 'Your password was changed'`,
      [member.email],
    );
    expect(mail?.body).toContain('friend@evil.example as owner');
  });
});

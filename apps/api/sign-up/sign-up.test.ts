import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_PASSWORD, TestApi } from '#test/api';

const request = (email: string) => ({
  agencyName: 'Town of Elm',
  kind: 'town',
  state: 'VT',
  contactName: 'Ada Clerk',
  email,
  password: TEST_PASSWORD,
});

describe('sign-up', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await TestApi.start();
  });
  afterAll(() => api.close());

  it('202, then 201: makes nothing before the mailed token comes back, then agency, owner, audit entry at once', async () => {
    const email = 'ada@elm.example';
    const answered = await api.post('/v1/sign-ups', request(email));
    expect(answered).toMatchObject({ status: 202, body: { status: 'confirmation-mailed', email } });
    expect(await api.rows(`SELECT 1 FROM agency UNION ALL SELECT 1 FROM auth."user"`)).toEqual([]);

    const confirmed = await api.post('/v1/sign-ups/confirm', { token: await api.mailedToken(email) });
    expect(confirmed).toMatchObject({
      status: 201,
      body: { name: 'Town of Elm', kind: 'town', state: 'VT', contactEmail: email },
    });
    const owner = await api.signIn(email);
    expect(await api.get('/v1/sessions/current', owner)).toMatchObject({
      status: 200,
      body: { agencyId: confirmed.body.id, role: 'owner', mayDeclare: true },
    });
    const log = await api.get('/v1/audit', owner);
    expect(log.body.items.map((entry: { action: string }) => entry.action)).toEqual([
      'session.opened',
      'agency.signed-up',
    ]);
  });

  it('422 for a token used twice, a wrong one and an expired one; nothing is made', async () => {
    const email = 'bo@elm.example';
    await api.post('/v1/sign-ups', request(email));
    const token = await api.mailedToken(email);
    await api.rows(`UPDATE sign_up SET expires_at = now() - interval '1 second' WHERE email = $1`, [email]);
    const refused = { status: 422, body: { code: 'token.invalid' } };
    expect(await api.post('/v1/sign-ups/confirm', { token })).toMatchObject(refused);
    await api.rows(`UPDATE sign_up SET expires_at = now() + interval '1 hour' WHERE email = $1`, [email]);
    expect((await api.post('/v1/sign-ups/confirm', { token })).status).toBe(201);
    expect(await api.post('/v1/sign-ups/confirm', { token })).toMatchObject(refused);
    expect(await api.post('/v1/sign-ups/confirm', { token: 'A'.repeat(43) })).toMatchObject(refused);
    expect(await api.rows(`SELECT count(*)::int AS n FROM agency WHERE contact_email = $1`, [email])).toEqual([
      { n: 1 },
    ]);
  });

  it('201 once for two confirmations at once', async () => {
    const email = 'race@elm.example';
    await api.post('/v1/sign-ups', request(email));
    const token = await api.mailedToken(email);
    const both = await Promise.all([1, 2].map(() => api.post('/v1/sign-ups/confirm', { token })));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 422]);
  });

  it('202 alike for a known address, whose owner is told by mail', async () => {
    const { email } = await api.agency();
    const known = await api.post('/v1/sign-ups', request(email));
    const unknown = await api.post('/v1/sign-ups', request('new@elm.example'));
    expect({ ...known.body, email: '' }).toEqual({ ...unknown.body, email: '' });
    expect([known.status, (await api.post('/v1/sign-ups/resend', { email })).status]).toEqual([202, 202]);
    const [mail] = await api.rows<{ subject: string }>(
      `SELECT subject FROM mail_message WHERE recipient = $1 ORDER BY created_at DESC LIMIT 1`,
      [email],
    );
    expect(mail?.subject).toBe('You have an account at Mainstay already');
  });

  it('202 for a resend: the new token counts, the old one no more, and at most one mail a minute', async () => {
    const email = 'again@elm.example';
    await api.post('/v1/sign-ups', request(email));
    const first = await api.mailedToken(email);
    await api.post('/v1/sign-ups/resend', { email });
    expect(await api.mailedToken(email)).toBe(first);
    await api.rows(`UPDATE sign_up SET mailed_at = now() - interval '2 minutes' WHERE email = $1`, [email]);
    await api.post('/v1/sign-ups/resend', { email });
    const second = await api.mailedToken(email);
    expect((await api.post('/v1/sign-ups/confirm', { token: first })).status).toBe(422);
    expect((await api.post('/v1/sign-ups/confirm', { token: second })).status).toBe(201);
  });

  it('400 and 422 for what does not fit, with where and why', async () => {
    const misfit = await api.post('/v1/sign-ups', {
      ...request('x@elm.example'),
      state: 'Vermont',
      extra: 1,
      agencyName: 'a\nBcc: b',
    });
    expect(misfit.status).toBe(400);
    expect(misfit.headers.get('content-type')).toMatch('application/problem+json');
    expect(misfit.body).toMatchObject({ status: 400, code: 'request.invalid', type: '/problems/request.invalid' });
    const pointers = misfit.body.errors.map(({ pointer }: { pointer: string }) => pointer);
    expect(pointers).toEqual(expect.arrayContaining(['/agencyName', '/state', '']));
    expect(misfit.headers.get('x-request-id')).toBe(misfit.body.requestId);
    const weak = await api.post('/v1/sign-ups', { ...request('x@elm.example'), password: 'too short' });
    expect(weak).toMatchObject({ status: 422, body: { code: 'password.unfit' } });
  });
});

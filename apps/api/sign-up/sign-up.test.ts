import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_PASSWORD, TestApi } from '#test/api';

const request = (email: string) => ({
  agencyName: 'Town of Elm',
  kind: 'town',
  state: 'VT',
  contactName: 'Ada Clerk',
  email,
});

describe('sign-up', () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await TestApi.start();
  });
  afterAll(() => api.close());

  const confirm = (token: string, password = TEST_PASSWORD) => api.post('/v1/sign-ups/confirm', { token, password });
  /** As if the mails to this address were of a while ago. */
  const aWhileLater = (email: string) =>
    api.rows(`UPDATE sign_up SET mailed_at = mailed_at - interval '2 minutes' WHERE email = $1`, [email]);
  const mailsTo = async (email: string): Promise<{ subject: string; body: string }[]> =>
    api.rows(`SELECT subject, body FROM mail_message WHERE recipient = $1 ORDER BY created_at DESC`, [email]);

  it('202, then 201: makes nothing before the mailed token comes back, then agency, owner, audit entry at once', async () => {
    const email = 'ada@elm.example';
    const answered = await api.post('/v1/sign-ups', request(email));
    expect(answered).toMatchObject({ status: 202, body: { status: 'confirmation-mailed', id: expect.any(String) } });
    expect(await api.rows(`SELECT 1 FROM agency UNION ALL SELECT 1 FROM auth."user"`)).toEqual([]);

    const confirmed = await confirm(await api.mailedToken(email));
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
    expect(log.body.items.map((entry) => entry.action)).toEqual(['session.opened', 'agency.signed-up']);
  });

  it('422 for a token used twice, a wrong one and an expired one; nothing is made', async () => {
    const email = 'bo@elm.example';
    await api.post('/v1/sign-ups', request(email));
    const token = await api.mailedToken(email);
    await api.rows(`UPDATE sign_up SET expires_at = now() - interval '1 second' WHERE email = $1`, [email]);
    const refused = { status: 422, body: { code: 'token.invalid' } };
    expect(await confirm(token)).toMatchObject(refused);
    await api.rows(`UPDATE sign_up SET expires_at = now() + interval '1 hour' WHERE email = $1`, [email]);
    expect((await confirm(token)).status).toBe(201);
    expect(await confirm(token)).toMatchObject(refused);
    expect(await confirm('A'.repeat(43))).toMatchObject(refused);
    expect(await api.rows(`SELECT count(*)::int AS n FROM agency WHERE contact_email = $1`, [email])).toEqual([
      { n: 1 },
    ]);
  });

  it('201 once for two confirmations at once', async () => {
    const email = 'race@elm.example';
    await api.post('/v1/sign-ups', request(email));
    const token = await api.mailedToken(email);
    const both = await Promise.all([1, 2].map(() => confirm(token)));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 422]);
  });

  it('202 alike for a known address, whose owner is told by mail', async () => {
    const { email } = await api.agency();
    await aWhileLater(email);
    const known = await api.post('/v1/sign-ups', request(email));
    const unknown = await api.post('/v1/sign-ups', request('new@elm.example'));
    expect({ ...known.body, id: '' }).toEqual({ ...unknown.body, id: '' });
    expect([known.status, (await api.post('/v1/sign-ups/resend', { id: known.body.id })).status]).toEqual([202, 202]);
    expect((await mailsTo(email))[0]?.subject).toBe('You have an account at Mainstay already');
  });

  it('202 for a resend of that sign-up: the new token counts, the old one no more, and at most one mail a minute', async () => {
    const email = 'again@elm.example';
    const { body } = await api.post('/v1/sign-ups', request(email));
    const resend = (id: string) => api.post('/v1/sign-ups/resend', { id });
    const first = await api.mailedToken(email);
    await resend(body.id);
    expect(await api.mailedToken(email)).toBe(first);
    await aWhileLater(email);
    await resend('5f0c2c1e-7d43-4b0e-8d62-0e3a54a5b001');
    expect(await api.mailedToken(email)).toBe(first);
    await resend(body.id);
    const second = await api.mailedToken(email);
    expect((await confirm(first)).status).toBe(422);
    expect((await confirm(second)).status).toBe(201);
  });

  it('twenty strangers’ sign-ups for an address do not keep its owner out', async () => {
    const email = 'owner@elm.example';
    await api.post('/v1/sign-ups', request(email));
    for (let n = 0; n < 19; n++) await api.post('/v1/sign-ups', request(email));
    await aWhileLater(email);
    const { body } = await api.post('/v1/sign-ups', { ...request(email), agencyName: 'The owner’s own' });
    expect(await api.rows(`SELECT agency_name FROM sign_up WHERE id = $1 AND mails = 1`, [body.id])).toEqual([
      { agency_name: 'The owner’s own' },
    ]);
    expect(await api.rows(`SELECT count(*)::int AS n FROM sign_up WHERE email = $1`, [email])).toEqual([{ n: 20 }]);
    expect((await confirm(await api.mailedToken(email))).status).toBe(201);
  });

  it('a stranger who signs up with a clerk’s address gains nothing, whichever mail the clerk confirms', async () => {
    const email = 'clerk@elm.example';
    const theirs = await api.post('/v1/sign-ups', request(email));
    const strangers = await api.mailedToken(email);
    await aWhileLater(email);
    await api.post('/v1/sign-ups', request(email));
    const own = await api.mailedToken(email);
    await aWhileLater(email);
    // The stranger has the mail of the own sign-up sent again; the clerk's token stays good.
    await api.post('/v1/sign-ups/resend', { id: theirs.body.id });
    expect((await confirm(strangers, 'the strangers pass words')).status).toBe(422);
    const again = await api.mailedToken(email);
    expect((await confirm(again)).status).toBe(201);
    // What the stranger knows opens nothing, and no other sign-up of the address can be confirmed any more.
    expect((await api.post('/v1/sessions', { email, password: 'the strangers pass words' })).status).toBe(401);
    expect((await api.get('/v1/sessions/current', await api.signIn(email))).body.role).toBe('owner');
    expect((await confirm(own)).body.code).toBe('token.invalid');
    expect(await api.rows(`SELECT 1 FROM sign_up WHERE email = $1 AND agency_id IS NULL`, [email])).toEqual([]);
    // A sign-up takes no password: who confirms chooses it.
    const old = await api.post('/v1/sign-ups', { ...request('other@elm.example'), password: TEST_PASSWORD });
    expect(old.body.code).toBe('request.invalid');
  });

  it('mails an address once a minute and ten times a day, however many sign up with it; the answer stays the same', async () => {
    const email = 'victim@elm.example';
    for (let i = 0; i < 5; i++) expect((await api.post('/v1/sign-ups', request(email))).status).toBe(202);
    expect(await mailsTo(email)).toHaveLength(1);
    for (let i = 0; i < 25; i++) {
      await aWhileLater(email);
      expect((await api.post('/v1/sign-ups', request(email))).body).toMatchObject({ status: 'confirmation-mailed' });
    }
    expect(await mailsTo(email)).toHaveLength(10);
  });

  it('400 for a name that a mail program would make a link of; what is quoted stands in no subject', async () => {
    for (const agencyName of ['Pay at evil.example', 'See https://evil', 'write to me@evil', 'www evil']) {
      expect((await api.post('/v1/sign-ups', { ...request('x@elm.example'), agencyName })).status).toBe(400);
    }
    const email = 'st@elm.example';
    const agencyName = 'Town of St. Johnsbury, U.S. No. 2';
    expect((await api.post('/v1/sign-ups', { ...request(email), agencyName })).status).toBe(202);
    const [mail] = await mailsTo(email);
    expect(mail?.body).toContain(`"${agencyName}", a town in VT`);
    expect(mail?.subject).not.toContain('Johnsbury');
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
    const pointers = misfit.body.errors.map(({ pointer }) => pointer);
    expect(pointers).toEqual(expect.arrayContaining(['/agencyName', '/state', '']));
    expect(misfit.headers.get('x-request-id')).toBe(misfit.body.requestId);
    await api.post('/v1/sign-ups', request('weak@elm.example'));
    const token = await api.mailedToken('weak@elm.example');
    const weak = await confirm(token, 'too short');
    expect((await confirm(token)).status).toBe(201);
    expect(weak).toMatchObject({ status: 422, body: { code: 'password.unfit' } });
  });
});

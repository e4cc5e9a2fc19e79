import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_PASSWORD, type TestAgency, TestApi } from '#test/api';

describe('members', () => {
  let api: TestApi;
  let agency: TestAgency;
  beforeAll(async () => {
    api = await TestApi.start();
    agency = await api.agency();
  });
  afterAll(() => api.close());

  const patch = (id: string, body: unknown, token: string) => api.call('PATCH', `/v1/members/${id}`, { token, body });

  it('201 to invite and to accept by the mailed token, once; the member has the role that was given', async () => {
    const email = 'olga@elm.example';
    const invited = await api.post('/v1/invitations', { email, role: 'operator' }, agency.owner);
    expect(invited).toMatchObject({ status: 201, body: { email, role: 'operator', mayDeclare: false } });
    expect((await api.post('/v1/invitations', { email, role: 'owner' }, agency.owner)).body.code).toBe(
      'invitation.exists',
    );
    const accept = { token: await api.mailedToken(email), name: 'Olga Operator', password: TEST_PASSWORD };
    expect((await api.post('/v1/invitations/accept', { token: accept.token })).body.code).toBe(
      'invitation.password-needed',
    );
    expect((await api.post('/v1/invitations/accept', accept)).status).toBe(201);
    expect((await api.post('/v1/invitations/accept', accept)).body.code).toBe('token.invalid');
    const token = await api.signIn(email);
    expect((await api.get('/v1/sessions/current', token)).body).toMatchObject({ role: 'operator', mayDeclare: false });
    expect((await api.post('/v1/invitations', { email, role: 'owner' }, agency.owner)).body.code).toBe('member.exists');
  });

  it('422 for an invitation that was withdrawn', async () => {
    const email = 'gone@elm.example';
    const { body } = await api.post('/v1/invitations', { email, role: 'auditor' }, agency.owner);
    expect((await api.call('DELETE', `/v1/invitations/${body.id}`, { token: agency.owner })).status).toBe(204);
    const accept = { token: await api.mailedToken(email), name: 'Gone', password: TEST_PASSWORD };
    expect((await api.post('/v1/invitations/accept', accept)).status).toBe(422);
  });

  it('one person may work for two agencies, and says for which when signing in', async () => {
    const other = await api.agency('Elm School District');
    await api.post('/v1/invitations', { email: agency.email, role: 'auditor' }, other.owner);
    expect((await api.post('/v1/invitations/accept', { token: await api.mailedToken(agency.email) })).status).toBe(201);
    const credentials = { email: agency.email, password: TEST_PASSWORD };
    const asked = await api.post('/v1/sessions', credentials);
    expect([asked.status, asked.body.facts.agencies.length]).toEqual([409, 2]);
    const chosen = await api.post('/v1/sessions', { ...credentials, agencyId: other.id });
    expect(chosen.body.caller).toMatchObject({ agencyId: other.id, role: 'auditor' });
    expect((await api.get('/v1/agency', chosen.body.token)).body.id).toBe(other.id);
  });

  it('403 for an operator or auditor who manages members, and for a key', async () => {
    const [operator, auditor] = [await api.member(agency, 'operator'), await api.member(agency, 'auditor')];
    for (const token of [operator.token, auditor.token, agency.apiKey]) {
      expect((await patch(operator.id, { role: 'owner' }, token)).body.code).toBe('scope.missing');
      expect((await api.post('/v1/invitations', { email: 'x@elm.example', role: 'owner' }, token)).status).toBe(403);
    }
    expect((await api.get('/v1/members', auditor.token)).status).toBe(200);
  });

  it('409 for the last owner who would step down or leave, of two who do it at once one may', async () => {
    expect((await patch(agency.memberId, { role: 'auditor' }, agency.owner)).body.code).toBe('member.last-owner');
    expect((await api.call('DELETE', `/v1/members/${agency.memberId}`, { token: agency.owner })).status).toBe(409);
    const town = await api.agency();
    const second = await api.member(town, 'owner');
    const both = await Promise.all([
      patch(town.memberId, { role: 'auditor' }, town.owner),
      patch(second.id, { role: 'auditor' }, second.token),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
  });

  it('a removed member’s session and keys end at once; the log keeps who it was', async () => {
    const member = await api.member(agency, 'owner', true);
    const key = await api.apiKey(member.token, ['agency:read', 'failovers:declare']);
    expect((await api.get('/v1/agency', key)).status).toBe(200);
    expect((await api.call('DELETE', `/v1/members/${member.id}`, { token: agency.owner })).status).toBe(204);
    expect([(await api.get('/v1/agency', member.token)).status, (await api.get('/v1/agency', key)).status]).toEqual([
      401, 401,
    ]);
    const { body } = await api.get(`/v1/audit?subjectId=${member.id}`, agency.owner);
    expect(body.items[0]).toMatchObject({ action: 'member.removed', detail: { email: member.email } });
  });

  it('what a removed or demoted member handed out is void: invitations, and enrolment tokens of theirs and of their keys', async () => {
    const town = await api.agency();
    for (const end of ['removed', 'demoted'] as const) {
      const rogue = await api.member(town, 'owner');
      const key = await api.apiKey(rogue.token, ['agents:write']);
      const second = `second-${end}@evil.example`;
      await api.post('/v1/invitations', { email: second, role: 'owner' }, rogue.token);
      const accept = { token: await api.mailedToken(second), name: 'Second', password: TEST_PASSWORD };
      const tokens = await Promise.all(
        [rogue.token, key].map(async (maker) => (await api.post('/v1/enrolment-tokens', { name: 'a' }, maker)).body),
      );
      // A change of role that leaves the right leaves the tokens.
      if (end === 'demoted') {
        await patch(rogue.id, { role: 'operator' }, town.owner);
        const { body } = await api.get('/v1/enrolment-tokens', town.owner);
        expect(body.items.find(({ id }) => id === tokens[0]!.id)!.state).toBe('open');
        expect((await patch(rogue.id, { role: 'auditor' }, town.owner)).status).toBe(200);
      } else {
        await api.call('DELETE', `/v1/members/${rogue.id}`, { token: town.owner });
      }
      expect((await api.post('/v1/invitations/accept', accept)).body.code).toBe('token.invalid');
      const { body } = await api.get('/v1/enrolment-tokens', town.owner);
      for (const { id } of tokens) {
        expect(body.items.find((one) => one.id === id)!.state).toBe('revoked');
      }
    }
  });

  it('429 past fifty invitations a day, and past three to one person; the mail’s subject says nothing of theirs', async () => {
    const town = await api.agency();
    const invite = (email: string) => api.post('/v1/invitations', { email, role: 'auditor' }, town.owner);
    for (let i = 0; i < 3; i++) {
      const { body } = await invite('same@elm.example');
      await api.call('DELETE', `/v1/invitations/${body.id}`, { token: town.owner });
    }
    expect((await invite('same@elm.example')).body.code).toBe('invitation.too-many');
    const statuses: number[] = [];
    for (let i = 0; i < 50; i++) statuses.push((await invite(`person${i}@elm.example`)).status);
    expect([statuses.indexOf(429), statuses.filter((status) => status === 201).length]).toEqual([47, 47]);
    const [mail] = await api.rows<{ subject: string }>(
      `SELECT subject FROM mail_message WHERE recipient = 'person0@elm.example'`,
    );
    expect(mail?.subject).toBe('You are invited to work for an agency at Mainstay');
  });

  it('pages through members by cursor, each once, and 400 for a cursor of another list', async () => {
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const { body } = await api.get(`/v1/members?limit=2${cursor ? `&cursor=${cursor}` : ''}`, agency.owner);
      seen.push(...body.items.map(({ id }) => id));
      cursor = body.nextCursor;
    } while (cursor !== null);
    const [{ n }] = (await api.rows<{ n: number }>(`SELECT count(*)::int AS n FROM member WHERE tenant_id = $1`, [
      agency.id,
    ])) as [{ n: number }];
    expect([seen.length, new Set(seen).size]).toEqual([n, n]);
    expect((await api.get('/v1/members?cursor=bm9uZQ', agency.owner)).body.code).toBe('cursor.invalid');
  });
});

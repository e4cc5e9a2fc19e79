import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problem } from '#libs/platform/http';
import { type TestAgency, TestApi } from '#test/api';

interface ApiDocument {
  readonly openapi: string;
  readonly components: { readonly schemas: Readonly<Record<string, unknown>> };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

interface Operation {
  readonly operationId: string;
  readonly summary?: string;
  readonly parameters: readonly { readonly name: string }[];
}

describe('the border of the API', () => {
  let api: TestApi;
  let agency: TestAgency;
  beforeAll(async () => {
    api = await TestApi.start({}, { callsPerMinute: 40 });
    agency = await api.agency();
  });
  afterAll(() => api.close());

  const raw = async (path: string, init: RequestInit) => {
    const response = await fetch(`${api.url}${path}`, init);
    return { status: response.status, body: JSON.parse(await response.text()), headers: response.headers };
  };

  it('4xx as problem details, whatever is wrong and wherever it is noticed', async () => {
    const json = { 'content-type': 'application/json' };
    const wrong = [
      [404, await raw('/nowhere', {})],
      [404, await raw('/v1/sign-ups', { method: 'DELETE' })],
      [400, await raw('/v1/sign-ups', { method: 'POST', headers: json, body: '{"a":' })],
      [400, await raw('/v1/members/%zz', {})],
      [400, await raw('/v1/members/none', { headers: { authorization: `Bearer ${agency.owner}` } })],
      [413, await raw('/v1/sign-ups', { method: 'POST', headers: json, body: JSON.stringify('x'.repeat(2_000_000)) })],
      [415, await raw('/v1/sign-ups', { method: 'POST', headers: { 'content-type': 'text/xml' }, body: '<a/>' })],
      [401, await raw('/v1/agency', {})],
    ] as const;
    for (const [status, answer] of wrong) {
      expect(answer.status).toBe(status);
      expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
      expect(problem.parse(answer.body)).toMatchObject({ status, requestId: answer.headers.get('x-request-id') });
    }
  });

  it('keeps the request id that a caller brings, unless it is unfit for a log line', async () => {
    const id = async (given: string) =>
      (await raw('/v1/agency', { headers: { 'x-request-id': given } })).body.requestId;
    expect(await id('trace-12345678')).toBe('trace-12345678');
    expect(await id('x y')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('describes itself as OpenAPI 3.1: every reference leads somewhere, every operation has an id and a summary', async () => {
    const document = JSON.parse((await api.get('/openapi.json')).text) as ApiDocument;
    expect(document.openapi).toBe('3.1.0');
    const references = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(
      ([, name]) => name,
    );
    expect(references.filter((name) => !(name! in document.components.schemas))).toEqual([]);
    const operations = Object.values(document.paths).flatMap((item) => Object.values(item));
    expect(operations.filter(({ summary }) => !summary)).toEqual([]);
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
    const posts = Object.values(document.paths).flatMap(({ post }) => post ?? []);
    expect(posts.filter(({ parameters }) => !parameters.some(({ name }) => name === 'Idempotency-Key'))).toEqual([]);
    expect((await api.get('/docs')).status).toBe(200);
  });

  it('400 for what no column can hold, wherever it stands; 401 for a cookie that cannot be read', async () => {
    const cursor = (key: unknown[]) => Buffer.from(JSON.stringify(key)).toString('base64url');
    const id = '5f0c2c1e-7d43-4b0e-8d62-0e3a54a5b001';
    for (const path of [
      `/v1/api-keys?cursor=${cursor(['yesterday', id])}`,
      `/v1/api-keys?cursor=${cursor(['2026-13-41 99:00:00+00', id])}`,
      `/v1/api-keys?cursor=${cursor(['2026-02-31 10:00:00+00', id])}`,
      `/v1/notices?cursor=${cursor(['', id])}`,
      `/v1/members?cursor=${cursor(['a\0b', id])}`,
      `/v1/workloads?cursor=${cursor([1.5, id])}`,
      `/v1/agents?cursor=${cursor([1e300, id])}`,
      `/v1/failovers?cursor=${cursor([1.5, id])}`,
      '/v1/audit?action=%00',
      '/v1/audit?subjectId=a%00b',
    ]) {
      expect([path, (await api.get(path, agency.owner)).status]).toEqual([path, 400]);
    }
    const unread = await raw('/v1/agency', { headers: { cookie: 'mainstay_session=%E0%A4%A' } });
    expect(unread.status).toBe(401);
    const deep = `{"name":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
    const headers = {
      authorization: `Bearer ${agency.owner}`,
      'content-type': 'application/json',
      'idempotency-key': 'a-deep-request',
    };
    expect((await raw('/v1/api-keys', { method: 'POST', headers, body: deep })).status).toBe(400);
  });

  it('200 while alive and ready', async () => {
    expect([(await api.get('/health/live')).status, (await api.get('/health/ready')).status]).toEqual([200, 200]);
  });

  it('429 past the quota, with where it stands and when to try again; another caller is not held up', async () => {
    let answer = await api.get('/v1/agency', agency.apiKey);
    expect(answer.headers.get('ratelimit-policy')).toBe('"default";q=40;w=60');
    for (let i = 0; i < 40; i++) answer = await api.get('/v1/agency', agency.apiKey);
    expect(answer.status).toBe(429);
    expect(answer.headers.get('ratelimit')).toMatch(/^"default";r=0;t=\d+$/);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await api.get('/v1/agency', agency.owner)).status).toBe(200);
  });
});

describe('an attack from behind the town’s own address', () => {
  let api: TestApi;
  let agency: TestAgency;
  beforeAll(async () => {
    api = await TestApi.start({}, { limitFactor: 1 });
    agency = await api.agency();
  });
  afterAll(() => api.close());

  const forged = (n: number): string => `mainstay_test_${n.toString(16).padStart(32, '0')}_${'A'.repeat(43)}`;

  it('429 for unknown keys past a hundred a minute, while every valid key and session goes on', async () => {
    const fresh = await api.apiKey(agency.owner);
    const refused = await Promise.all(Array.from({ length: 150 }, (_, n) => api.get('/v1/agency', forged(n))));
    expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([401, 429]));
    const late = await api.get('/v1/agency', forged(999));
    expect([late.status, Number(late.headers.get('retry-after')) > 0]).toEqual([429, true]);
    // Known before the attack, never seen before, and a session.
    for (const token of [agency.apiKey, fresh, agency.owner]) {
      expect((await api.get('/v1/agency', token)).status).toBe(200);
    }
    const flood = Array.from({ length: 60 }, (_, n) => api.get('/v1/agency', forged(n + 2_000)));
    const key = await api.apiKey(agency.owner);
    expect((await api.get('/v1/agency', key)).status).toBe(200);
    expect((await api.post('/v1/sessions', { email: agency.email, password: agency.password })).status).toBe(201);
    await Promise.all(flood);
  });

  it('429 for one key that is refused again and again, however many addresses show it; a new one of that agency passes', async () => {
    const { body } = await api.get('/v1/api-keys?limit=1', agency.owner);
    const revoked = await api.apiKey(agency.owner);
    const [made] = (await api.get('/v1/api-keys?limit=1', agency.owner)).body.items;
    expect(made!.id).not.toBe(body.items[0]!.id);
    expect((await api.call('DELETE', `/v1/api-keys/${made!.id}`, { token: agency.owner })).status).toBe(204);
    const statuses = new Set<number>();
    for (let i = 0; i < 40; i++) statuses.add((await api.get('/v1/agency', revoked)).status);
    expect(statuses).toContain(429);
    expect((await api.get('/v1/agency', agency.apiKey)).status).toBe(200);
  });
});

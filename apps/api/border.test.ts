import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problem } from '#libs/platform/http';
import { type TestAgency, TestApi } from '#test/api';

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
    const { body: document } = await api.get('/openapi.json');
    expect(document.openapi).toBe('3.1.0');
    const references = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(
      ([, name]) => name,
    );
    expect(references.filter((name) => !(name! in document.components.schemas))).toEqual([]);
    const operations = Object.values(document.paths).flatMap((item) =>
      Object.values(item as Record<string, { operationId: string; summary?: string }>),
    );
    expect(operations.filter(({ summary }) => !summary)).toEqual([]);
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
    const posts = Object.values(
      document.paths as Record<string, { post?: { parameters: { name: string }[] } }>,
    ).flatMap(({ post }) => post ?? []);
    expect(posts.filter(({ parameters }) => !parameters.some(({ name }) => name === 'Idempotency-Key'))).toEqual([]);
    expect((await api.get('/docs')).status).toBe(200);
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

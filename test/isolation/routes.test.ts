import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answered, type TestAgency, TestApi } from '#test/api';
import { type JsonSchema, SampleBodies } from './sample-body.js';
import { checksum, sampleRows, sampleSite } from './sample-rows.js';

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly schema: JsonSchema;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>> };
  readonly security?: readonly Readonly<Record<string, unknown>>[];
}

interface ApiDocument {
  readonly components: { readonly schemas: Record<string, JsonSchema> };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

interface Route {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
  /** Who may call it, by its security schemes. */
  readonly for: 'public' | 'tenant' | 'staff' | 'agent';
}

/** Bodies that a generated value does not fit, by operation. Everything else is made from the schema. */
const BODIES: Readonly<Record<string, unknown>> = {};

/**
 * Routes whose path or body names no row of an agency, though they take a uuid, by operation, each with the reason.
 */
const NO_ROW: Readonly<Record<string, string>> = {};

/** Routes that find nothing under the sample rows' own agency, each with the reason. */
const HAS_NO_SAMPLE: Readonly<Record<string, string>> = {};

const audience = (operation: Operation): Route['for'] => {
  const schemes = (operation.security ?? []).flatMap((one) => Object.keys(one));
  if (schemes.includes('staffSession')) return 'staff';
  if (schemes.includes('agentSignature')) return 'agent';
  return schemes.includes('apiKey') ? 'tenant' : 'public';
};

describe('every route of the OpenAPI document, called with another agency’s ids', () => {
  let api: TestApi;
  let routes: Route[];
  let components: Record<string, JsonSchema>;
  let elm: TestAgency;
  let oak: TestAgency;
  const elmRow = randomUUID();

  beforeAll(async () => {
    api = await TestApi.start();
    const document = JSON.parse((await api.get('/openapi.json')).text) as ApiDocument;
    components = document.components.schemas;
    routes = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => ({
        method: method.toUpperCase(),
        path,
        operation,
        for: audience(operation),
      })),
    );
    [elm, oak] = [await api.agency('Town of Elm'), await api.agency('Town of Oak')];
    await sampleRows(api.admin, elm.id, elmRow);
  });
  afterAll(() => api.close());

  const name = ({ method, path }: Route): string => `${method} ${path}`;

  /** Calls a route with `id` wherever its path, query or body can name a row. */
  async function call(
    route: Route,
    token: string | undefined,
    id: string,
  ): Promise<{ answer: Answered; refers: boolean }> {
    const bodies = new SampleBodies(components, id);
    const schema = route.operation.requestBody?.content['application/json']?.schema;
    const known = BODIES[route.operation.operationId];
    const body = known ?? (schema && bodies.make(schema));
    let refers = bodies.refers;
    const path = route.path.replaceAll(/\{\w+\}/g, () => {
      refers = true;
      return id;
    });
    const query = new URLSearchParams();
    for (const parameter of route.operation.parameters ?? []) {
      if (parameter.in === 'query' && parameter.required)
        query.set(parameter.name, String(bodies.make(parameter.schema)));
    }
    const answer = await api.call(route.method, `${path}${query.size > 0 ? `?${query}` : ''}`, {
      token,
      ...(body === undefined ? {} : { body }),
      ...(route.method === 'POST' ? { key: randomUUID() } : {}),
    });
    return { answer, refers };
  }

  it('404 or a refusal by scope; never another agency’s row, never a change to it', async () => {
    expect(routes.length).toBeGreaterThan(25);
    const before = await checksum(api.admin, elm.id);
    const wrong: string[] = [];
    for (const route of routes.filter((one) => one.for === 'tenant' && !(one.operation.operationId in NO_ROW))) {
      for (const [caller, token] of [
        ['owner', oak.owner],
        ['key', oak.apiKey],
      ] as const) {
        // These end the caller's own session, or show it alone.
        if (route.path.startsWith('/v1/sessions/current')) continue;
        const { answer, refers } = await call(route, token, elmRow);
        const text = JSON.stringify(answer.body);
        const line = `${name(route)} as ${caller}: ${answer.status} ${text.slice(0, 300)}`;
        const personsOnly = caller === 'key' && answer.body?.code === 'scope.missing';
        if (refers && answer.status !== 404 && !personsOnly) wrong.push(line);
        if (answer.status >= 500 || answer.status === 400) wrong.push(line);
        if (text.includes(elm.id) || (!refers && text.includes(elmRow)) || text.includes(elm.email)) wrong.push(line);
      }
    }
    expect(wrong).toEqual([]);
    expect(await checksum(api.admin, elm.id)).toEqual(before);
  });

  it('the answer does not tell whether the row exists', async () => {
    const told: string[] = [];
    for (const route of routes.filter((one) => one.for === 'tenant' && one.path.includes('{'))) {
      const [foreign, absent] = [await call(route, oak.owner, elmRow), await call(route, oak.owner, randomUUID())];
      const say = ({ answer }: { answer: Answered }): string =>
        `${answer.status} ${answer.body?.code} ${answer.body?.detail}`;
      if (say(foreign) !== say(absent)) told.push(`${name(route)}: ${say(foreign)} against ${say(absent)}`);
    }
    expect(told).toEqual([]);
  });

  it('401 without a caller, with a stranger’s key, and for staff’s and agents’ routes with an agency’s', async () => {
    const before = await checksum(api.admin, elm.id);
    const open: string[] = [];
    const forged = `mainstay_test_${'0'.repeat(32)}_${'A'.repeat(43)}`;
    for (const route of routes.filter((one) => one.for !== 'public')) {
      const tokens = route.for === 'tenant' ? [undefined, forged] : [undefined, oak.owner, oak.apiKey];
      for (const token of tokens) {
        const { answer } = await call(route, token, elmRow);
        if (![401, 403].includes(answer.status) || (route.for !== 'agent' && answer.status !== 401)) {
          open.push(`${name(route)}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`);
        }
      }
    }
    expect(open).toEqual([]);
    expect(await checksum(api.admin, elm.id)).toEqual(before);
  });

  it('an agency’s key is no staff’s, and a staff session no agency’s', async () => {
    const staff = await api.staff();
    expect((await api.get('/v1/agency', staff)).status).toBe(401);
    expect((await api.get('/v1/staff/agencies', elm.owner)).status).toBe(401);
  });

  // Last: it changes what it calls. Without it, a walk over ids that no route finds would pass for isolation.
  it('the same ids under their own agency’s session are found', async () => {
    await sampleSite(api.admin, elmRow);
    const reading = routes.filter((one) => one.for === 'tenant' && one.method === 'GET' && one.path.includes('{'));
    const lost: string[] = [];
    for (const route of reading) {
      const { answer } = await call(route, elm.owner, elmRow);
      if (answer.status === 404) lost.push(name(route));
    }
    expect(reading.length).toBeGreaterThan(3);
    expect(lost.filter((one) => !(one in HAS_NO_SAMPLE))).toEqual([]);
  });
});

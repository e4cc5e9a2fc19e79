import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { freePort } from '#libs/platform/postgres';
import { authenticatorCode } from '#test/authenticator';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { Scraped } from '#test/scrape';

const PASSWORD = 'four wet herons stood';

/** The programs as they are installed: what `npm test` has just built. */
describe('the api process', () => {
  let database: ControlDatabase;
  let admin: pg.Client;
  let home: string;
  let environment: Record<string, string>;
  const running = new Set<ChildProcess>();

  beforeAll(async () => {
    database = await createControlDatabase();
    admin = new pg.Client({ connectionString: database.adminUrl });
    await admin.connect();
    home = await mkdtemp(path.join(tmpdir(), 'mainstay-api-'));
    const file = async (name: string, content: string): Promise<string> => {
      const place = path.join(home, name);
      await writeFile(place, content, { mode: 0o600 });
      return place;
    };
    const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const port = await freePort();
    environment = {
      PATH: process.env['PATH'] ?? '',
      NODE_COMPILE_CACHE: path.join(home, 'cache'),
      API_PORT: String(port),
      PUBLIC_URL: `http://127.0.0.1:${port}`,
      ENVIRONMENT_NAME: 'test',
      TENANT_DATABASE_URL: database.tenantUrl,
      PROVIDER_DATABASE_URL: database.providerUrl,
      QUEUE_URL: database.queueUrl,
      SESSION_SECRET_FILE: await file('secret', 'a secret for tests, which is long enough for them'),
      ORDER_SIGNING_KEY_FILE: await file('orders.pem', pem),
      CONTROL_TLS_CERT_FILE: await file('control.crt', 'unused here'),
      CONTROL_TLS_KEY_FILE: await file('control.key', 'unused here'),
      CONTROL_TLS_CA_FILE: await file('authority.crt', 'unused here'),
      LOG_LEVEL: 'warn',
    };
    expect(await makeStaff('ops@mainstay.example')).toEqual({ code: 0, said: '' });
  });
  afterEach(() => {
    for (const child of running) child.kill('SIGKILL');
    running.clear();
  });
  afterAll(async () => {
    await admin.end();
    await database.drop();
    await rm(home, { recursive: true, force: true });
  });

  const launch = (program: string, more: string[] = [], changed: Record<string, string> = {}): ChildProcess => {
    const file = program.includes('/') ? program : `api/${program}`;
    const child = spawn(process.execPath, [`dist/apps/${file}.js`, ...more], {
      env: { ...environment, ...changed },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    running.add(child);
    return child;
  };
  const ended = async (child: ChildProcess): Promise<{ code: unknown; said: string }> => {
    const said = text(child.stderr!);
    const [code, signal] = (await once(child, 'exit')) as unknown[];
    return { code: code ?? signal, said: await said };
  };
  const start = async (changed: Record<string, string> = {}): Promise<ChildProcess> => {
    const child = launch('main', [], changed);
    const ready = async () => (await fetch(`${environment['PUBLIC_URL']}/health/ready`)).ok;
    await waitFor('the api to be ready', ready, { timeoutMs: 60_000 });
    return child;
  };
  const post = async (route: string, body: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${environment['PUBLIC_URL']}${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };
  const makeStaff = async (email: string) => {
    const child = launch('create-staff', ['--email', email, '--name', 'Ops']);
    child.stdin!.end(`${PASSWORD}\n`);
    return ended(child);
  };
  let authenticator: string | undefined;
  /** An administrator sets an authenticator app up the first time, and signs in by it from then on. */
  const signIn = async (email: string): Promise<string> => {
    const code = authenticator === undefined ? {} : { code: authenticatorCode(authenticator, 1) };
    const token = (await post('/v1/staff/sessions', { email, password: PASSWORD, ...code })).body['token']!;
    if (authenticator !== undefined) return token;
    const at = '/v1/staff/sessions/current/two-factor';
    const as = (one: string) => ({ authorization: `Bearer ${one}` });
    authenticator = (await post(at, { password: PASSWORD }, as(token))).body['uri']!;
    return (await post(`${at}/confirm`, { code: authenticatorCode(authenticator) }, as(token))).body['token']!;
  };

  it('stops with one line for each faulty setting, and never its value', async () => {
    const { code, said } = await ended(launch('main', [], { API_PORT: 'none', PUBLIC_URL: 'secret-looking' }));
    expect(code).toBe(1);
    expect(said).toMatch(/API_PORT: .+\n.*PUBLIC_URL: |PUBLIC_URL: .+\n.*API_PORT: /);
    expect(said).not.toContain('secret-looking');
  });

  it('stops with one line for a receiver of traces that is no address, and for a port that is none', async () => {
    const wrong = { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318', METRICS_PORT: 'many' };
    for (const program of ['main', 'worker/main']) {
      const { code, said } = await ended(launch(program, [], { ...wrong, ...mailing }));
      expect(code).toBe(1);
      expect(said.trim().split('\n').slice(1).sort()).toEqual([
        expect.stringMatching(/^ {2}METRICS_PORT: /),
        expect.stringMatching(/^ {2}OTEL_EXPORTER_OTLP_ENDPOINT: must be an http/),
      ]);
    }
  });

  it('api and worker serve their figures and their health on a port of their own, on loopback', async () => {
    const [api, worker] = [await freePort(), await freePort()];
    await start({ METRICS_PORT: String(api) });
    const child = launch('worker/main', [], { METRICS_PORT: String(worker), ...mailing });
    const ask = (port: number, path: string) => fetch(`http://127.0.0.1:${port}${path}`);
    for (const port of [api, worker]) {
      const ready = async () => (await ask(port, '/health/ready')).ok;
      await waitFor('it to be ready', ready, { timeoutMs: 60_000 });
      expect((await ask(port, '/health/live')).status).toBe(200);
    }
    expect((await Scraped.of(api)).kinds.get('mainstay_http_request_duration_seconds')).toBe('histogram');
    expect((await Scraped.of(worker)).value('mainstay_events_undelivered')).toBe(0);
    expect((await fetch(`${environment['PUBLIC_URL']}/metrics`)).status).toBe(404);
    // Its database gone, the worker says so and lives.
    const bringBack = await takeDatabaseAway();
    const lost = async () => (await ask(worker, '/health/ready')).status === 503;
    await waitFor('the worker to miss its database', lost, { timeoutMs: 20_000 });
    expect((await ask(worker, '/health/live')).status).toBe(200);
    const scraped = await Scraped.of(worker);
    expect(scraped.value('mainstay_collector_failures_total', { collector: 'events' })).toBeGreaterThan(0);
    expect(scraped.value('mainstay_events_undelivered')).toBeUndefined();
    await bringBack();
    await waitFor('the worker to be ready', async () => !(await lost()), { timeoutMs: 60_000 });
    const stopped = ended(child);
    child.kill('SIGTERM');
    expect(await stopped).toEqual({ code: 'SIGTERM', said: '' });
  });

  it('create-staff makes the first administrator, however often it is asked, and takes no weak password', async () => {
    expect(await makeStaff('ops@mainstay.example')).toEqual({ code: 0, said: '' });
    const weak = launch('create-staff', ['--email', 'weak@mainstay.example', '--name', 'Weak']);
    weak.stdin!.end('password\n');
    expect(await ended(weak)).toMatchObject({ code: 1, said: expect.stringContaining('password.unfit') });
    const { rows } = await admin.query(`SELECT email, role FROM auth.staff`);
    expect(rows).toEqual([{ email: 'ops@mainstay.example', role: 'administrator' }]);
  });

  /** Holds whatever writes staff, so that a request stays in flight until it is let go. */
  const held = async () => {
    const holder = new pg.Client({ connectionString: database.adminUrl });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE auth.staff IN SHARE MODE');
    const waiting = () => admin.query(`SELECT FROM pg_locks WHERE relation = 'auth.staff'::regclass AND NOT granted`);
    return {
      reached: () =>
        waitFor('the request to wait', async () => (await waiting()).rowCount === 1, { timeoutMs: 20_000 }),
      letGo: () => holder.end(),
    };
  };
  const mailing = { SMTP_URL: 'smtp://127.0.0.1:9', MAIL_FROM: 'Mainstay <mainstay@provider.example>' };
  /** Nobody gets in any more, and whoever was in, but for the test itself, is out. */
  const takeDatabaseAway = async (): Promise<() => Promise<void>> => {
    const { rows } = await admin.query<{ name: string }>('SELECT current_database() AS name');
    const url = new URL(database.adminUrl);
    url.pathname = '/postgres';
    const outside = new pg.Client({ connectionString: url.href });
    await outside.connect();
    const allow = (yes: boolean) =>
      outside.query(`ALTER DATABASE ${outside.escapeIdentifier(rows[0]!.name)} ALLOW_CONNECTIONS ${yes}`);
    await allow(false);
    await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()`);
    return async () => {
      await allow(true);
      await outside.end();
    };
  };
  const newcomer = (email: string) => ({ email, name: 'New', role: 'support', password: PASSWORD });

  it('ends requests in flight before it stops', async () => {
    const child = await start();
    const authorization = `Bearer ${await signIn('ops@mainstay.example')}`;
    const hold = await held();
    const answer = post('/v1/staff/members', newcomer('calm@mainstay.example'), { authorization });
    await hold.reached();
    const stopped = ended(child);
    child.kill('SIGTERM');
    await hold.letGo();
    expect((await answer).status).toBe(201);
    expect((await stopped).said).toBe('');
  });

  it('killed with -9 in a change: the same key makes the change once, within seconds', async () => {
    const first = await start();
    const authorization = `Bearer ${await signIn('ops@mainstay.example')}`;
    const headers = { authorization, 'idempotency-key': randomUUID() };
    const hold = await held();
    const lost = post('/v1/staff/members', newcomer('once@mainstay.example'), headers).catch((error: unknown) => error);
    await hold.reached();
    first.kill('SIGKILL');
    expect(await lost).toBeInstanceOf(Error);
    await hold.letGo();
    await start();
    const again = await waitFor(
      'the key to be free',
      async () => {
        const answer = await post('/v1/staff/members', newcomer('once@mainstay.example'), headers);
        return answer.status === 409 && answer.body['code'] === 'idempotency.in-flight' ? undefined : answer;
      },
      { timeoutMs: 20_000, everyMs: 250 },
    );
    expect(again.status).toBe(201);
    const { rows } = await admin.query(
      `SELECT count(*)::int AS n FROM auth.staff WHERE email = 'once@mainstay.example'`,
    );
    expect(rows).toEqual([{ n: 1 }]);
  });
});

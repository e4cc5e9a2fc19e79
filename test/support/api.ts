import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import type { ApiEnvironment } from '../../apps/api/api.environment.js';
import { createApi } from '../../apps/api/start-api.js';
import { authenticatorCode } from '../../apps/stack/authenticator.js';
import { Identity, Staff, type StaffRole } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { SCOPES_OF_ROLE, type Scope } from '#libs/tenancy/control';
import { type ControlDatabase, createControlDatabase } from './databases.js';

export interface CallOptions {
  readonly token?: string | undefined;
  readonly body?: unknown;
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * What tests read of answers in JSON. A name means the same in every answer that has it, so one type serves for all; one
 * that an answer lacks is undefined, and fails the expectation or the call that it was read for. Whatever is not listed
 * goes into a matcher.
 */
export interface AnsweredBody {
  readonly [name: string]: unknown;
  readonly id: string;
  readonly workloadId: string;
  readonly agentId: string;
  readonly preflightId: string;
  readonly requestId: string;
  readonly state: string;
  readonly epoch: number;
  readonly token: string;
  readonly key: string;
  readonly challenge: string;
  readonly uri: string;
  readonly backupCodes: readonly string[];
  readonly mayDeclare: boolean;
  readonly pendingOrders: number;
  readonly metro: AnsweredBody;
  readonly regional: AnsweredBody;
  readonly connection: AnsweredBody;
  readonly frontDoor: AnsweredBody;
  readonly degradeGrants: readonly AnsweredBody[];
  readonly sites: readonly AnsweredBody[];
  readonly steps: readonly AnsweredBody[];
  readonly items: readonly AnsweredBody[];
  readonly nextCursor: string | null;
  readonly name: string;
  readonly kind: string;
  readonly action: string;
  readonly text: string;
  readonly title: string;
  readonly severity: string;
  readonly repeats: number;
  readonly subjectIds: AnsweredBody;
  readonly archiveId: string;
  readonly snapshotId: string;
  readonly ageSeconds: number;
  readonly late: boolean;
  readonly atSite: boolean;
  readonly lastRun: AnsweredBody;
  readonly policy: AnsweredBody;
  readonly progress: AnsweredBody;
  readonly copy: AnsweredBody;
  readonly hold: AnsweredBody;
  readonly drop: AnsweredBody;
  readonly failure: AnsweredBody;
  readonly unappliedResults: number;
  /** Of a problem. */
  readonly code: string;
  readonly errors: readonly AnsweredBody[];
  readonly facts: AnsweredBody;
  readonly agencies: readonly AnsweredBody[];
}

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The parsed JSON; empty for an answer of another type. */
  readonly body: AnsweredBody;
}

export interface TestAgency {
  readonly id: string;
  readonly email: string;
  readonly password: string;
  readonly memberId: string;
  /** A session of its owner, who may declare. */
  readonly owner: string;
  /** An API key with every scope that a key may have. */
  readonly apiKey: string;
}

/** Every scope that an API key may hold. */
export const KEY_SCOPES: readonly Scope[] = [
  ...SCOPES_OF_ROLE.owner.filter((scope) => !['members:write', 'api-keys:write', 'agency:write'].includes(scope)),
  'failovers:declare',
];

export const TEST_PASSWORD = 'seven lamps by the weir';

/** The whole API on a real database of its own, called over HTTP. */
export class TestApi {
  private constructor(
    readonly app: NestFastifyApplication,
    readonly database: ControlDatabase,
    readonly url: string,
    /** Past every policy, to look at rows. */
    readonly admin: pg.Client,
  ) {}

  static async start(
    overrides: Partial<ApiEnvironment> = {},
    limits: { callsPerMinute?: number; limitFactor?: number } = {},
  ): Promise<TestApi> {
    const database = await createControlDatabase();
    const { privateKey } = generateKeyPairSync('ed25519');
    const app = await createApi(
      {
        API_HOST: '127.0.0.1',
        API_PORT: 0,
        PUBLIC_URL: 'http://mainstay.test',
        ENVIRONMENT_NAME: 'test',
        TENANT_DATABASE_URL: database.tenantUrl,
        PROVIDER_DATABASE_URL: database.providerUrl,
        QUEUE_URL: database.queueUrl,
        SESSION_SECRET_FILE: 'a secret for tests, which is long enough for them',
        ORDER_SIGNING_KEY_FILE: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
        // Nothing is asked of sites unless a test gives certificates.
        CONTROL_TLS_CERT_FILE: '',
        CONTROL_TLS_KEY_FILE: '',
        CONTROL_TLS_CA_FILE: '',
        LOG_LEVEL: 'silent',
        TRUSTED_PROXIES: undefined,
        ...overrides,
      },
      { callsPerMinute: 100_000, limitFactor: 1_000, ...limits },
    );
    await app.listen(0, '127.0.0.1');
    const { port } = app.getHttpServer().address() as AddressInfo;
    const admin = new pg.Client({ connectionString: database.adminUrl });
    await admin.connect();
    return new TestApi(app, database, `http://127.0.0.1:${port}`, admin);
  }

  async close(): Promise<void> {
    await this.app.close();
    await this.admin.end();
    await this.database.drop();
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<Answered> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(options.key === undefined ? {} : { 'idempotency-key': options.key }),
        ...options.headers,
      },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    });
    // A stream ends when what it tells of ends: whoever wants its events reads them with an event stream.
    if (response.headers.get('content-type')?.startsWith('text/event-stream')) {
      await response.body?.cancel();
      return answered(response, '');
    }
    return answered(response, await response.text());
  }

  get = (path: string, token?: string): Promise<Answered> => this.call('GET', path, { token });
  post = (path: string, body: unknown, token?: string, key?: string): Promise<Answered> =>
    this.call('POST', path, { token, body, ...(key === undefined ? {} : { key }) });

  /** The rows of a statement, past every policy. */
  async rows<R = Record<string, unknown>>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    return (await this.admin.query(sql, [...parameters])).rows as R[];
  }

  /** The token in the newest mail to this address. */
  async mailedToken(email: string): Promise<string> {
    const [mail] = await this.rows<{ body: string }>(
      `SELECT body FROM mail_message WHERE recipient = $1 ORDER BY created_at DESC LIMIT 1`,
      [email],
    );
    const token = /token=([\w-]+)/.exec(mail?.body ?? '')?.[1];
    if (token === undefined) throw new Error(`no token was mailed to ${email}`);
    return token;
  }

  async signIn(email: string, password = TEST_PASSWORD): Promise<string> {
    const { status, body } = await this.post('/v1/sessions', { email, password });
    if (status !== 201) throw new Error(`sign-in answered ${status}: ${JSON.stringify(body)}`);
    return body.token;
  }

  /** An agency as it comes to be: signed up, confirmed, with an owner and a key. */
  async agency(name = `Town of Elm ${randomUUID().slice(0, 8)}`): Promise<TestAgency> {
    const email = `clerk-${randomUUID().slice(0, 8)}@elm.example`;
    const request = {
      agencyName: name,
      kind: 'town',
      state: 'VT',
      contactName: 'Ada Clerk',
      email,
    };
    await this.post('/v1/sign-ups', request);
    const confirmed = await this.post('/v1/sign-ups/confirm', {
      token: await this.mailedToken(email),
      password: TEST_PASSWORD,
    });
    if (confirmed.status !== 201) throw new Error(`confirming answered ${JSON.stringify(confirmed.body)}`);
    const owner = await this.signIn(email);
    const current = await this.get('/v1/sessions/current', owner);
    const apiKey = await this.apiKey(owner);
    return { id: confirmed.body.id, email, password: TEST_PASSWORD, memberId: current.body.id, owner, apiKey };
  }

  /** A further member, invited and accepted. */
  async member(
    agency: TestAgency,
    role: string,
    mayDeclare = false,
  ): Promise<{ id: string; email: string; token: string }> {
    const email = `${role}-${randomUUID().slice(0, 8)}@elm.example`;
    await this.post('/v1/invitations', { email, role, mayDeclare }, agency.owner);
    const accepted = await this.post('/v1/invitations/accept', {
      token: await this.mailedToken(email),
      name: `Member ${role}`,
      password: TEST_PASSWORD,
    });
    return { id: accepted.body.id, email, token: await this.signIn(email) };
  }

  async apiKey(token: string, scopes: readonly Scope[] = KEY_SCOPES): Promise<string> {
    const { status, body } = await this.post('/v1/api-keys', { name: 'test', scopes, expiresInDays: 1 }, token);
    if (status !== 201) throw new Error(`making a key answered ${JSON.stringify(body)}`);
    return body.key;
  }

  /** A session of a fresh staff member, with a second factor where the role needs one. */
  async staff(role: StaffRole = 'administrator'): Promise<string> {
    const { email } = await this.staffMember(role);
    const { body } = await this.post('/v1/staff/sessions', { email, password: TEST_PASSWORD });
    return role === 'support' ? body.token : (await this.setUpAuthenticator(body.token)).token;
  }

  /** A fresh staff member who has not signed in yet. */
  async staffMember(role: StaffRole): Promise<{ id: string; email: string }> {
    const email = `${role}-${randomUUID().slice(0, 8)}@mainstay.example`;
    const passwordHash = await this.app.get(Identity).hash(TEST_PASSWORD, email);
    return this.app
      .get(UnitOfWork)
      .provider((tx) => this.app.get(Staff).create(tx, { email, name: 'Sam Staff', role, passwordHash }, null));
  }

  /** Sets an authenticator app up for the staff session; answers the renewed session and the app's address. */
  async setUpAuthenticator(token: string): Promise<{ token: string; uri: string }> {
    const at = '/v1/staff/sessions/current/two-factor';
    const { body: begun } = await this.post(at, { password: TEST_PASSWORD }, token);
    const { body } = await this.post(`${at}/confirm`, { code: authenticatorCode(begun.uri) }, token);
    return { token: body.token, uri: begun.uri };
  }
}

function answered({ status, headers }: Response, text: string): Answered {
  const isJson = /[/+]json(;|$)/.test(headers.get('content-type') ?? '') && text !== '';
  return { status, headers, text, body: (isJson ? JSON.parse(text) : {}) as AnsweredBody };
}

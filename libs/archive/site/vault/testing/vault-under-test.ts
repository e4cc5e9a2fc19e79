import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createHash, randomUUID } from 'node:crypto';
import type { INestApplicationContext } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Metrics } from '#libs/platform/telemetry';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import {
  type IssuedCredential,
  type RepositoryWish,
  type VaultRole,
  VaultRepositories,
  VaultService,
} from '../../index.js';
import { startVault, type VaultOptions } from './vault-application.js';

export interface VaultAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface VaultRequest {
  readonly body?: Buffer;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly as?: IssuedCredential;
}

export interface OpenedRepository {
  readonly id: string;
  readonly as: IssuedCredential;
  readonly of: (name: string) => string;
}

const DAY = 86_400;

/** A vault on a folder and a site's database of its own, asked over HTTP as restic asks. */
export class VaultUnderTest {
  private constructor(
    readonly directory: string,
    private readonly database: SiteDatabase,
    private readonly app: INestApplicationContext,
    private readonly secure: boolean,
  ) {}

  static async start(options: VaultOptions = {}): Promise<VaultUnderTest> {
    const directory = await mkdtemp(path.join(tmpdir(), 'mainstay-vault-'));
    const database = await createSiteDatabase();
    const app = await startVault('vault under test', { directory, databaseUrl: database.url }, options);
    return new VaultUnderTest(directory, database, app, Boolean(options.tls));
  }

  async stop(): Promise<void> {
    await this.app.close();
    await this.database.drop();
    await rm(this.directory, { recursive: true, force: true });
  }

  get databaseUrl(): string {
    return this.database.url;
  }

  get repositories(): VaultRepositories {
    return this.app.get(VaultRepositories);
  }

  get service(): VaultService {
    return this.app.get(VaultService);
  }

  get metrics(): Metrics {
    return this.app.get(Metrics);
  }

  get work(): SiteUnitOfWork {
    return this.app.get(SiteUnitOfWork);
  }

  /** Rows of the site's database. */
  rows<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    return this.work.run((tx) => tx.query<R>(sql, parameters));
  }

  /** A repository with one credential of the role. */
  async repository(
    role: VaultRole,
    wish: Partial<RepositoryWish> = {},
  ): Promise<{ readonly id: string; readonly credential: IssuedCredential }> {
    const id = wish.repositoryId ?? randomUUID();
    const terms = { tenantId: randomUUID(), quotaBytes: null, minimumAgeSeconds: DAY, ...wish };
    await this.repositories.ensure({ ...terms, repositoryId: id });
    return { id, credential: await this.repositories.issue(id, role) };
  }

  /** The same, made by its client: what `of` answers are its paths. */
  async opened(...wish: Parameters<VaultUnderTest['repository']>): Promise<OpenedRepository> {
    const { id, credential } = await this.repository(...wish);
    const of = (name: string) => `/${id}/${name}`;
    if (wish[0] !== 'read') await this.ask('POST', of('?create=true'), { as: credential });
    return { id, as: credential, of };
  }

  ask(method: string, target: string, { body, headers, as }: VaultRequest = {}): Promise<VaultAnswer> {
    return new Promise((resolve, reject) => {
      const request = (this.secure ? https : http).request({
        // The authority is the test's own; restic itself checks it.
        rejectUnauthorized: false,
        host: '127.0.0.1',
        port: this.service.port,
        method,
        path: target,
        agent: false,
        headers: {
          ...(as && { authorization: basic(as) }),
          ...(body && { 'content-length': body.length }),
          ...headers,
        },
      });
      request.once('error', reject);
      request.once('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
        );
      });
      request.end(body);
    });
  }

  async status(...request: Parameters<VaultUnderTest['ask']>): Promise<number> {
    return (await this.ask(...request)).status;
  }
}

/** The name under which restic keeps an object. */
export const idOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

export const basic = ({ credentialId, secret }: IssuedCredential): string =>
  `Basic ${Buffer.from(`${credentialId}:${secret}`).toString('base64')}`;

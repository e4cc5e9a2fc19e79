import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { PeerSite } from '#contracts/sites';
import {
  certificateFingerprint,
  type CertificateText,
  createAuthority,
  createKeyPair,
  issueCertificate,
  type KeyPairText,
} from '#libs/link';
import { DatabaseModule, SiteUnitOfWork } from '#libs/platform/database';
import { freePort } from '#libs/platform/postgres';
import { TelemetryModule } from '#libs/platform/nest';
import type { SiteSettingsValues } from '#libs/sites/site/gateway';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import { ArmedLeases, type LeaseState } from '../armed-leases.js';
import { LinkProcessModule } from '../link-process.module.js';
import { names } from './pulse-said.js';

export interface StandbyRow {
  readonly workloadId: string;
  readonly tenantId: string;
  readonly agentId: string;
  readonly name?: string;
  readonly mode?: 'strict' | 'available';
  readonly forwardPort?: number;
  readonly standbyPort?: number;
  readonly peer?: PeerSite;
  readonly follow?: 'agency' | 'peer';
}

/** A link process of the test's own, in this process, with its database, certificate and keys. */
export class LinkUnderTest {
  readonly siteId = randomUUID();
  readonly keys: KeyPairText = createKeyPair();
  private app: INestApplicationContext | undefined;

  private constructor(
    readonly database: SiteDatabase,
    readonly folder: string,
    readonly certificate: CertificateText,
    readonly port: number,
  ) {}

  /** Makes everything; {@link start} starts it. */
  static async prepare(): Promise<LinkUnderTest> {
    const authority = await createAuthority('test authority');
    const certificate = await issueCertificate(authority, { commonName: 'gateway', usages: ['server'] });
    const folder = await mkdtemp(path.join(tmpdir(), 'mainstay-link-'));
    return new LinkUnderTest(await createSiteDatabase(), folder, certificate, await freePort());
  }

  get settings(): SiteSettingsValues {
    return {
      siteId: this.siteId,
      name: 'test',
      directory: this.folder,
      frontDoorHost: '127.0.0.1',
      linkSocket: path.join(this.folder, 'link.sock'),
      siteSocket: path.join(this.folder, 'site.sock'),
      ports: { first: 20_000, last: 29_999 },
      postgresBin: null,
    };
  }

  /** What agents and peers are told; `port` may be that of a proxy before the gateway. */
  target(port = this.port) {
    const certificateFingerprint_ = certificateFingerprint(this.certificate.certificate);
    return { siteId: this.siteId, host: '127.0.0.1', port, certificateFingerprint: certificateFingerprint_ };
  }

  asPeer(): PeerSite {
    return { ...this.target(), publicKey: this.keys.publicKey };
  }

  async start(): Promise<void> {
    const gateway = {
      host: '127.0.0.1',
      port: this.port,
      certificate: this.certificate.certificate,
      key: this.certificate.privateKey,
      sitePrivateKey: this.keys.privateKey,
      version: 'test',
    };
    @Module({
      imports: [
        TelemetryModule.forProcess('link', 'silent'),
        DatabaseModule.forSite({ url: this.database.url, applicationName: 'link test', max: 4 }),
        LinkProcessModule.forProcess({ settings: this.settings, databaseUrl: this.database.url, gateway }),
      ],
    })
    class TestLinkModule {}
    this.app = await NestFactory.createApplicationContext(TestLinkModule, { logger: false });
  }

  async stop(): Promise<void> {
    await this.app?.close();
    this.app = undefined;
  }

  async close(): Promise<void> {
    await this.stop();
    await this.database.drop();
    await rm(this.folder, { recursive: true, force: true });
  }

  get<T>(token: abstract new (...dependencies: never[]) => T): T {
    if (!this.app) throw new Error('the link under test is stopped');
    return this.app.get<T>(token, { strict: false });
  }

  sql<R>(text: string, values: unknown[] = []): Promise<R[]> {
    return this.get(SiteUnitOfWork).run((tx) => tx.query<R>(text, values));
  }

  lease(workloadId: string): Promise<LeaseState> {
    return this.get(SiteUnitOfWork).run((tx) => this.get(ArmedLeases).state(tx, workloadId));
  }

  async admit(agentId: string, tenantId: string, publicKey: string): Promise<void> {
    await this.sql(`INSERT INTO agent_identity (agent_id, tenant_id, name, public_key) VALUES ($1, $2, 'test', $3)`, [
      agentId,
      tenantId,
      publicKey,
    ]);
  }

  async protect(row: StandbyRow): Promise<void> {
    await this.sql(
      `INSERT INTO standby (workload_id, tenant_id, agent_id, workload_name, role, mode, state, epoch, names,
                            forward_port, standby_port, peer, follow)
       VALUES ($1, $2, $3, $4, 'metro', $5, 'streaming', 1, $6, $7, $8, $9, $10)`,
      [
        row.workloadId,
        row.tenantId,
        row.agentId,
        row.name ?? 'permits',
        row.mode ?? 'strict',
        JSON.stringify(names),
        row.forwardPort ?? null,
        row.standbyPort ?? null,
        row.peer ? JSON.stringify(row.peer) : null,
        row.follow ?? 'agency',
      ],
    );
  }

  async results(kind: string): Promise<Record<string, unknown>[]> {
    const rows = await this.sql<{ payload: Record<string, unknown> }>(
      `SELECT payload FROM site_result WHERE kind = $1 ORDER BY written`,
      [kind],
    );
    return rows.map(({ payload }) => payload);
  }
}

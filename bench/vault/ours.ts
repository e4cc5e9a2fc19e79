import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { VaultRepositories } from '#libs/archive/site';
import { childEnvironment, LARGE_BUFFERS } from '#libs/platform/config';
import { DatabaseModule, provisionDatabase } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { findPostgres, freePort, ownedDirectory, PostgresServer } from '#libs/platform/postgres';
import { SITE_MIGRATIONS } from '#migrations/site';
import { stop } from './programs.js';
import { ProgramSide } from './sides.js';

const PASSWORD = 'for-benchmarks-on-loopback';
const ENTRY = path.resolve('dist/libs/archive/site/vault/testing/vault-process.js');
const DAY_SECONDS = 86_400;

/** PEM. */
export interface VaultTls {
  readonly certificate: string;
  readonly key: string;
}

export interface OpenRepository {
  readonly id: string;
  readonly port: number;
  readonly user: string;
  readonly secret: string;
}

/** The vault in a process of its own, with the site's database beside it: hash, both fsyncs and the ledger counted. */
export class OurVault extends ProgramSide {
  readonly name = 'Mainstay';
  private server: PostgresServer | undefined;
  private databaseUrl = '';
  private folder = '';
  private services: INestApplicationContext | undefined;

  /** @param tls as a site has it; plain HTTP, as its rivals are asked, when left out */
  constructor(private readonly tls: VaultTls | null = null) {
    super();
  }

  async start(home: string): Promise<void> {
    const folder = await ownedDirectory(path.join(home, 'postgres'));
    this.server = await PostgresServer.at(await findPostgres(), path.join(folder, 'data'));
    await this.server.initialise({ superuser: 'postgres', password: PASSWORD });
    await mkdir(path.join(folder, 'socket'), { recursive: true });
    const databasePort = await freePort();
    await this.server.start({
      port: databasePort,
      socketDirectory: path.join(folder, 'socket'),
      logFile: path.join(folder, 'log'),
      options: { listen_addresses: '127.0.0.1' },
    });
    const owner = { name: 'mainstay_site', password: PASSWORD };
    await provisionDatabase({
      adminUrl: `postgres://postgres:${PASSWORD}@127.0.0.1:${databasePort}/postgres`,
      database: 'site',
      owner,
      roles: [],
      queueRole: owner.name,
      migrations: SITE_MIGRATIONS,
    });
    this.databaseUrl = `postgres://${owner.name}:${PASSWORD}@127.0.0.1:${databasePort}/site`;
    this.folder = path.join(home, 'mainstay');
    this.services = await NestFactory.createApplicationContext(servicesOn(this.databaseUrl), { logger: false });
    await this.open();
  }

  /** Ends the vault's process and starts another: what it had found right before, it reads again. */
  override async restart(): Promise<void> {
    if (this.child) await stop(this.child);
    await this.open();
  }

  async repository(): Promise<string> {
    const { id, port, user, secret } = await this.openRepository();
    return `rest:http://${user}:${secret}@127.0.0.1:${port}/${id}/`;
  }

  /** A repository with a credential to append, by the services of the site. */
  async openRepository(): Promise<OpenRepository> {
    const repositories = (this.services as INestApplicationContext).get(VaultRepositories);
    const id = randomUUID();
    await repositories.ensure({
      repositoryId: id,
      tenantId: randomUUID(),
      quotaBytes: null,
      minimumAgeSeconds: DAY_SECONDS,
    });
    const { credentialId, secret } = await repositories.issue(id, 'append');
    return { id, port: this.port, user: credentialId, secret };
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.services?.close();
    await this.server?.stop('immediate');
  }

  private async open(): Promise<void> {
    const { folder: directory, databaseUrl, tls, port } = this;
    this.child = spawn(process.execPath, [ENTRY, JSON.stringify({ directory, databaseUrl, tls, port })], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: childEnvironment(LARGE_BUFFERS),
    });
    const [line] = (await once(this.child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    this.port = Number(line.toString());
  }
}

class Services {}

function servicesOn(url: string) {
  return {
    module: Services,
    imports: [
      TelemetryModule.forProcess('bench', 'silent'),
      ClockModule,
      DatabaseModule.forSite({ url, applicationName: 'bench' }),
    ],
    providers: [VaultRepositories],
  };
}

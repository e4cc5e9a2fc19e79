import { createHash, randomUUID } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { childEnvironment } from '#libs/platform/config';
import { provisionDatabase } from '#libs/platform/database';
import { findPostgres, freePort, ownedDirectory, PostgresServer } from '#libs/platform/postgres';
import { SITE_MIGRATIONS } from '#migrations/site';
import { ProgramSide } from './sides.js';

const PASSWORD = 'for-benchmarks-on-loopback';
const ENTRY = path.resolve('dist/libs/archive/site/vault/testing/vault-process.js');

/** The vault in a process of its own, with the site's database beside it: hash, both fsyncs and the ledger counted. */
export class OurVault extends ProgramSide {
  readonly name = 'Mainstay';
  private server: PostgresServer | undefined;
  private databaseUrl = '';

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
    const options = JSON.stringify({ directory: path.join(home, 'mainstay'), databaseUrl: this.databaseUrl });
    this.child = spawn(process.execPath, [ENTRY, options], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: childEnvironment({}),
    });
    const [line] = (await once(this.child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    this.port = Number(line.toString());
  }

  async repository(): Promise<string> {
    const [repository, credential, secret] = [randomUUID(), randomUUID(), randomUUID()];
    const client = new pg.Client({ connectionString: this.databaseUrl });
    await client.connect();
    await client.query(
      `INSERT INTO vault_repository (repository_id, tenant_id, minimum_age_seconds) VALUES ($1, $1, 86400)`,
      [repository],
    );
    await client.query(
      `INSERT INTO vault_credential (credential_id, repository_id, role, secret_hash) VALUES ($1, $2, 'append', $3)`,
      [credential, repository, createHash('sha256').update(secret).digest()],
    );
    await client.end();
    return `rest:http://${credential}:${secret}@127.0.0.1:${this.port}/${repository}/`;
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.server?.stop('immediate');
  }
}

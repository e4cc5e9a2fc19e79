import { randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type DynamicModule, Global, type INestApplicationContext, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { ArchivePolicy, KeyMode, SourceKind } from '#contracts/archive';
import type { PeerSite } from '#contracts/sites';
import { DatabaseModule, SiteUnitOfWork } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { QueueModule } from '#libs/platform/queue';
import { AgentCommands, PeerSites, SiteOutbox, SiteSettings } from '#libs/sites/site';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import { ArchivesModule, Points, SiteRestic, VaultRepositories } from '../index.js';
import { KnownCanaries } from '../changes/known-canaries.js';
import { ArchiveKeys } from '../keys/archive-keys.js';

const DAY_MS = 86_400_000;

export interface ArchiveWish {
  readonly archiveId?: string;
  readonly source?: SourceKind;
  readonly keyMode?: KeyMode;
  readonly minimumAgeDays?: number;
  readonly policy?: Partial<ArchivePolicy>;
  readonly second?: PeerSite;
}

export interface BackupWish {
  /** Null: somebody with a credential, not a run of ours. */
  readonly runId?: string | null;
  readonly part?: string;
  /** What is written to standard input, as a dump is, under this name. */
  readonly dump?: { readonly name: string; readonly command: readonly string[] };
  readonly options?: readonly string[];
}

/** Who the test's site speaks to: its agents and the other site, as far as a test has them. */
export interface Others {
  readonly agents?: AgentCommands;
  readonly peers?: PeerSites;
}

/** A site's archive in this process: its database, its vault, restic, and what looks after the recovery points. */
export class CareUnderTest {
  private constructor(
    readonly directory: string,
    readonly siteId: string,
    private readonly database: SiteDatabase,
    private readonly app: INestApplicationContext,
  ) {}

  static async start(others: Others = {}): Promise<CareUnderTest> {
    const directory = await mkdtemp(path.join(tmpdir(), 'mainstay-care-'));
    // restic runs as a user of its own.
    await chmod(directory, 0o711);
    const database = await createSiteDatabase();
    const siteId = randomUUID();
    const module = moduleOf(directory, database.url, siteId, others);
    const app = await NestFactory.createApplicationContext(module, { logger: false, abortOnError: false });
    await app.init();
    return new CareUnderTest(directory, siteId, database, app);
  }

  async stop(): Promise<void> {
    await this.app.close();
    await this.database.drop();
    await rm(this.directory, { recursive: true, force: true });
  }

  get<T>(type: Type<T> | (abstract new (...dependencies: never[]) => T)): T {
    return this.app.get<T>(type as Type<T>);
  }

  rows<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    return this.get(SiteUnitOfWork).run((tx) => tx.query<R>(sql, parameters));
  }

  /** What the control plane is told, of one kind, oldest first. */
  async results<P>(kind: string): Promise<P[]> {
    const rows = await this.rows<{ payload: P }>(`SELECT payload FROM site_result WHERE kind = $1 ORDER BY written`, [
      kind,
    ]);
    return rows.map(({ payload }) => payload);
  }

  /** An archive with its repository, as a finished preparation leaves it. */
  async archive(wish: ArchiveWish = {}): Promise<string> {
    const archiveId = wish.archiveId ?? randomUUID();
    const tenantId = randomUUID();
    const minimumAgeDays = wish.minimumAgeDays ?? 1;
    const policy: ArchivePolicy = {
      schedule: { every: 'hour' },
      timeZone: 'America/Los_Angeles',
      retention: { hours: 0, days: 1, weeks: 0, months: 0, years: 0 },
      minimumAgeDays,
      excludes: [],
      bandwidthBytesPerSecond: null,
      quietHours: null,
      checks: [],
      quotaBytes: null,
      ...wish.policy,
    } as ArchivePolicy;
    await this.get(VaultRepositories).ensure({
      repositoryId: archiveId,
      tenantId,
      quotaBytes: null,
      minimumAgeSeconds: minimumAgeDays * 86_400,
    });
    const keyMode = wish.keyMode ?? 'escrowed';
    await this.rows(
      `INSERT INTO archive (archive_id, tenant_id, workload_id, agent_id, workload_name, source, key_mode, state, policy,
                            second)
       VALUES ($1, $2, $3, $4, 'records', $5, $6, 'active', $7, $8)`,
      [
        archiveId,
        tenantId,
        randomUUID(),
        randomUUID(),
        wish.source ?? 'files',
        keyMode,
        JSON.stringify(policy),
        wish.second ? JSON.stringify(wish.second) : null,
      ],
    );
    const { canaries = [] } = policy;
    await this.get(SiteUnitOfWork).run((tx) => this.get(KnownCanaries).list(tx, archiveId, canaries));
    if (keyMode === 'escrowed') await this.initialise(archiveId);
    return archiveId;
  }

  /** A folder for {@link backup}, that restic's user may read. */
  async folder(contents: Readonly<Record<string, Buffer | string>>): Promise<string> {
    const folder = path.join(this.directory, 'sources', randomUUID());
    await mkdir(folder, { recursive: true });
    for (const [name, content] of Object.entries(contents)) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
      await writeFile(path.join(folder, name), content);
    }
    return folder;
  }

  /** Archives a folder or a dump as the agent does, and indexes the recovery point. @returns its id */
  async backup(archiveId: string, folder: string | null, wish: BackupWish = {}): Promise<string> {
    const runId = wish.runId === undefined ? randomUUID() : wish.runId;
    if (runId) {
      await this.rows(
        `INSERT INTO archive_run (run_id, archive_id, cause, state, due_at, started_at, ended_at)
         VALUES ($1, $2, 'schedule', 'completed', now(), now(), now()) ON CONFLICT DO NOTHING`,
        [runId, archiveId],
      );
    }
    const from = wish.dump
      ? ['--stdin-filename', wish.dump.name, '--stdin-from-command', '--', ...wish.dump.command]
      : ['.'];
    let summary: { snapshot_id: string; total_files_processed: number; total_bytes_processed: number } | undefined;
    await this.get(SiteRestic).run(archiveId, ['backup', '--json', ...(wish.options ?? []), ...from], {
      role: 'append',
      purpose: 'a test',
      signal: new AbortController().signal,
      ...(folder ? { cwd: folder } : {}),
      onLine: (json) => {
        if ((json as { message_type: string }).message_type === 'summary') summary = json as typeof summary;
      },
    });
    const snapshotId = summary?.snapshot_id ?? '';
    await this.get(SiteUnitOfWork).run((tx) =>
      this.get(Points).upsert(tx, {
        archiveId,
        snapshotId,
        runId,
        part: wish.part ?? null,
        claimedAt: new Date(),
        clockDiffers: false,
        files: summary?.total_files_processed ?? null,
        bytes: summary?.total_bytes_processed ?? null,
        bytesAddedPacked: null,
        change: null,
      }),
    );
    return snapshotId;
  }

  /** As if so many days had passed since everything of the repository was received. */
  async age(archiveId: string, days: number): Promise<void> {
    for (const file of await this.objects(archiveId)) {
      const then = new Date(file.receivedAt.getTime() - days * DAY_MS);
      await utimes(file.path, then, then);
    }
    for (const sql of [
      `UPDATE vault_snapshot SET received_at = received_at - make_interval(days => $2) WHERE repository_id = $1`,
      `UPDATE archive_point SET received_at = received_at - make_interval(days => $2),
              forgotten_at = forgotten_at - make_interval(days => $2) WHERE archive_id = $1`,
      `UPDATE archive SET pruned_at = pruned_at - make_interval(days => $2),
              retention_at = retention_at - make_interval(days => $2) WHERE archive_id = $1`,
    ]) {
      await this.rows(sql, [archiveId, days]);
    }
  }

  /** The files of a repository in the vault, of one type or all. */
  async objects(archiveId: string, type = ''): Promise<{ path: string; id: string; receivedAt: Date }[]> {
    const base = path.join(this.directory, 'vault', archiveId, type);
    const entries = await readdir(base, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    return Promise.all(
      files.map(async ({ name, parentPath }) => {
        const file = path.join(parentPath, name);
        return { path: file, id: name, receivedAt: (await stat(file)).mtime };
      }),
    );
  }

  /** Everything in the repository is sound. @throws ResticFailedError */
  async check(archiveId: string): Promise<void> {
    await this.restic(archiveId, 'check', '--read-data', '--no-lock');
  }

  async restic(archiveId: string, ...args: string[]): Promise<readonly string[]> {
    const signal = new AbortController().signal;
    return (await this.get(SiteRestic).run(archiveId, args, { role: 'read', purpose: 'a test', signal })).messages;
  }

  private async initialise(archiveId: string): Promise<void> {
    const keys = this.get(ArchiveKeys);
    const keyId = randomUUID();
    await keys.make(archiveId, keyId, 'site');
    const work = this.get(SiteUnitOfWork);
    const [key] = await work.run((tx) => keys.of(tx, archiveId));
    if (!key) throw new Error('the key was not made');
    const signal = new AbortController().signal;
    await this.get(SiteRestic).run(archiveId, ['init'], { role: 'append', purpose: 'a test', signal, key });
    await work.run((tx) => keys.added(tx, key, keyId));
  }
}

/** Nobody is there. */
const NOBODY = {
  call: () => Promise.reject(new Error('nobody is there')),
  stream: () => Promise.reject(new Error('nobody is there')),
};

function moduleOf(directory: string, url: string, siteId: string, { agents, peers }: Others): DynamicModule {
  class OthersModule {}
  Global()(OthersModule);
  Module({})(OthersModule);
  class TestModule {}
  const settings = new SiteSettings({
    siteId,
    name: 'test',
    directory,
    frontDoorHost: '127.0.0.1',
    linkSocket: path.join(directory, 'link.sock'),
    siteSocket: path.join(directory, 'site.sock'),
    ports: { first: 21_000, last: 31_000 },
    postgresBin: null,
  });
  return {
    module: TestModule,
    imports: [
      TelemetryModule.forProcess('care under test', 'silent'),
      ClockModule,
      DatabaseModule.forSite({ url, applicationName: 'care under test' }),
      QueueModule.forProcess({ url, prefix: siteId, runs: [] }),
      {
        module: OthersModule,
        providers: [
          { provide: SiteSettings, useValue: settings },
          { provide: AgentCommands, useValue: agents ?? NOBODY },
          { provide: PeerSites, useValue: peers ?? NOBODY },
          SiteOutbox,
        ],
        exports: [SiteSettings, AgentCommands, PeerSites, SiteOutbox],
      },
      ArchivesModule.forProcess({
        directory,
        databaseUrl: url,
        vault: { host: '127.0.0.1', port: 0, url: null, tls: null, storage: null },
        kekFile: null,
        oldKekFiles: [],
        restic: null,
      }),
    ],
  };
}

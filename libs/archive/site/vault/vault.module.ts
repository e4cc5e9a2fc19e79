import { mkdir, statfs } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import {
  type DynamicModule,
  Inject,
  Injectable,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { Listener } from '#libs/platform/database';
import { ifPresent } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { Metrics } from '#libs/platform/telemetry';
import { LocalStorage } from './local-storage.js';
import { objectLabel, type ObjectName } from './object-names.js';
import { RemovedObjects } from './removed-objects.js';
import type { VaultStorage } from './storage.js';
import { Vault } from './vault.js';
import { type VaultDoor, VaultTraffic } from './vault.metrics.js';
import { VaultObjects } from './vault-objects.js';
import { VaultLedgerRows } from './vault-ledger.service.js';
import { VaultRepositories } from './vault-repositories.service.js';
import { VaultServer, type VaultServerOptions } from './vault-server.js';

export interface VaultSettings extends VaultServerOptions {
  /** A folder of the vault's own, on one file system. */
  readonly directory: string;
  /** The site's database, for the news that a credential has ended. */
  readonly databaseUrl: string;
  /** Where the bytes lie; in {@link directory} when left out. */
  readonly storage?: VaultStorage;
  /** With which certificate the site's own restic is served, at a port of this machine alone; not at all when left out. */
  readonly loopback?: { readonly certificate: string; readonly key: string };
}

const SETTINGS = Symbol('vault settings');

/** Runs the vault in the site process: clears what a killed process left, listens, and stops with it. */
@Injectable()
export class VaultService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly vault: Vault;
  readonly objects: VaultObjects;
  readonly removed: RemovedObjects;
  private readonly storage: VaultStorage;
  private readonly server: VaultServer;
  private readonly local: VaultServer | undefined;
  private readonly news: Listener;
  private readonly damageListeners: ((repositoryId: string, name: ObjectName) => void)[] = [];
  private bound: AddressInfo | undefined;
  private readonly opened = Promise.withResolvers<number>();

  constructor(
    @Inject(SETTINGS) private readonly settings: VaultSettings,
    ledger: VaultLedgerRows,
    private readonly logger: AppLogger,
    clock: Clock,
    metrics: Metrics,
  ) {
    this.storage = settings.storage ?? new LocalStorage(settings.directory);
    this.vault = new Vault({
      storage: this.storage,
      ledger,
      now: () => clock.now(),
      damaged: (repository, name) => this.tellDamaged(repository, name),
    });
    this.objects = new VaultObjects(this.storage, this.vault.usage, (repository) => ledger.isUnused(repository));
    this.removed = new RemovedObjects(this.storage, this.vault.usage, this.vault.removals.underWay);
    const door = (options: VaultServerOptions, from: VaultDoor) =>
      new VaultServer(this.vault, options, logger.log, new VaultTraffic(metrics, from));
    this.server = door(settings, 'outside');
    const { loopback } = settings;
    this.local = loopback && door({ host: '127.0.0.1', port: 0, tls: loopback }, 'site');
    this.news = new Listener(settings.databaseUrl, ['vault_changed'], () => ledger.forgetCallers(), logger.log);
  }

  async onApplicationBootstrap(): Promise<void> {
    await mkdir(this.settings.directory, { recursive: true, mode: 0o700 });
    const leftovers = await this.storage.discardLeftovers();
    await this.news.start();
    this.bound = await this.server.listen();
    this.opened.resolve((await this.local?.listen())?.port ?? this.bound.port);
    this.logger.log.info({ port: this.bound.port, leftovers }, 'the vault is open');
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.server.close(), this.local?.close()]);
    await this.news.close();
  }

  /** The port that it listens on. */
  get port(): number {
    return this.bound?.port ?? 0;
  }

  /** The port for the site's own restic, once the vault is open. */
  get localPort(): Promise<number> {
    return this.opened.promise;
  }

  /** Every repository that has a place here. */
  repositories(): Promise<readonly string[]> {
    return this.storage.repositories();
  }

  /** What a repository takes; 0 for one that is not there. */
  async storedBytes(repositoryId: string): Promise<number> {
    return (await this.storage.repositoryExists(repositoryId)) ? this.vault.usage.bytes(repositoryId) : 0;
  }

  /** Of the file system that its objects lie on; null for a bucket, and before the vault is open. */
  async room(): Promise<{ readonly freeBytes: number; readonly sizeBytes: number } | null> {
    if (this.settings.storage) return null;
    const found = await ifPresent(statfs(this.settings.directory));
    return found ? { freeBytes: found.bavail * found.bsize, sizeBytes: found.blocks * found.bsize } : null;
  }

  /** To hear of each attempt to read an object that does not hash to its name. */
  onDamaged(listener: (repositoryId: string, name: ObjectName) => void): void {
    this.damageListeners.push(listener);
  }

  private tellDamaged(repositoryId: string, name: ObjectName): void {
    for (const listener of this.damageListeners) listener(repositoryId, name);
    this.logger.log.error({ repositoryId, object: objectLabel(name) }, 'an object in the vault is damaged');
  }
}

@Module({})
export class VaultModule {
  static forProcess(settings: VaultSettings | (() => Promise<VaultSettings>)): DynamicModule {
    const useFactory = () => (typeof settings === 'function' ? settings() : settings);
    return {
      module: VaultModule,
      providers: [{ provide: SETTINGS, useFactory }, VaultLedgerRows, VaultRepositories, VaultService],
      exports: [VaultRepositories, VaultService],
    };
  }
}

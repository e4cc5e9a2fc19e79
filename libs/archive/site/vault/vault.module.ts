import { mkdir } from 'node:fs/promises';
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
import { AppLogger } from '#libs/platform/nest';
import { LocalStorage } from './local-storage.js';
import { objectLabel, type ObjectName } from './object-names.js';
import { Vault } from './vault.js';
import { VaultLedgerRows } from './vault-ledger.service.js';
import { VaultRepositories } from './vault-repositories.service.js';
import { VaultServer, type VaultServerOptions } from './vault-server.js';

export interface VaultSettings extends VaultServerOptions {
  /** A folder of the vault's own, on one file system. */
  readonly directory: string;
  /** The site's database, for the news that a credential has ended. */
  readonly databaseUrl: string;
}

const SETTINGS = Symbol('vault settings');

/** Runs the vault in the site process: clears what a killed process left, listens, and stops with it. */
@Injectable()
export class VaultService implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly vault: Vault;
  private readonly storage: LocalStorage;
  private readonly server: VaultServer;
  private readonly news: Listener;
  private bound: AddressInfo | undefined;

  constructor(
    @Inject(SETTINGS) private readonly settings: VaultSettings,
    ledger: VaultLedgerRows,
    private readonly logger: AppLogger,
    clock: Clock,
  ) {
    this.storage = new LocalStorage(settings.directory);
    this.vault = new Vault({
      storage: this.storage,
      ledger,
      now: () => clock.now(),
      damaged: (repository, name) => this.tellDamaged(repository, name),
    });
    this.server = new VaultServer(this.vault, settings, logger.log);
    this.news = new Listener(settings.databaseUrl, ['vault_changed'], () => ledger.forgetCallers(), logger.log);
  }

  async onApplicationBootstrap(): Promise<void> {
    await mkdir(this.settings.directory, { recursive: true, mode: 0o700 });
    const leftovers = await this.storage.discardLeftovers();
    await this.news.start();
    this.bound = await this.server.listen();
    this.logger.log.info({ port: this.bound.port, leftovers }, 'the vault is open');
  }

  async onApplicationShutdown(): Promise<void> {
    await this.server.close();
    await this.news.close();
  }

  /** The port that it listens on. */
  get port(): number {
    return this.bound?.port ?? 0;
  }

  private tellDamaged(repositoryId: string, name: ObjectName): void {
    this.logger.log.error({ repositoryId, object: objectLabel(name) }, 'an object in the vault is damaged');
  }
}

@Module({})
export class VaultModule {
  static forProcess(settings: VaultSettings): DynamicModule {
    return {
      module: VaultModule,
      providers: [{ provide: SETTINGS, useValue: settings }, VaultLedgerRows, VaultRepositories, VaultService],
      exports: [VaultRepositories, VaultService],
    };
  }
}

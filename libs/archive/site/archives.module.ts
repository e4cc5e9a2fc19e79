import path from 'node:path';
import { type DynamicModule, Module } from '@nestjs/common';
import type { OrderContract } from '#contracts/sites';
import type { JobContract } from '#libs/platform/queue';
import { ArchiveReports } from './archive-report.js';
import { ARCHIVE_SETTINGS, type ArchiveSettings, VAULT_AUTHORITY } from './archive-settings.js';
import { Archives } from './archives.service.js';
import { CARE_JOBS, CARE_ORDERS, CARE_PROVIDERS } from './care.js';
import { ArchiveKeys } from './keys/archive-keys.js';
import { KEY_ENCRYPTION, LocalKeyEncryption } from './keys/key-encryption.js';
import { Points } from './points/points.service.js';
import { SiteRestic } from './restic/site-restic.js';
import { type VaultCertificates, vaultCertificates } from './vault/vault-authority.js';
import { VaultModule } from './vault/vault.module.js';

/** The orders that this library carries out. */
export const ARCHIVE_ORDERS: readonly OrderContract<never>[] = [...CARE_ORDERS];
/** The jobs that a site process runs for it. */
export const ARCHIVE_JOBS: readonly JobContract<never>[] = [...CARE_JOBS];

/** The archive of a warm site: the vault, runs, restores, keys and what looks after the recovery points. */
@Module({})
export class ArchivesModule {
  static forProcess(settings: ArchiveSettings): DynamicModule {
    const { vault, directory, databaseUrl } = settings;
    let made: Promise<VaultCertificates> | undefined;
    const hosts = [vault.host, ...(vault.url ? [new URL(vault.url).hostname] : [])];
    const certificates = () => (made ??= vaultCertificates(directory, hosts));
    return {
      module: ArchivesModule,
      imports: [
        VaultModule.forProcess(async () => {
          const own = await certificates();
          const loopback = { certificate: own.certificate, key: own.key };
          return {
            host: vault.host,
            port: vault.port,
            tls: vault.tls ?? loopback,
            loopback,
            directory: path.join(directory, 'vault'),
            databaseUrl,
            ...(vault.storage ? { storage: vault.storage } : {}),
          };
        }),
      ],
      providers: [
        { provide: ARCHIVE_SETTINGS, useValue: settings },
        { provide: VAULT_AUTHORITY, useFactory: async () => (await certificates()).authority },
        {
          provide: KEY_ENCRYPTION,
          useFactory: () => LocalKeyEncryption.load(settings.kekFile, settings.oldKekFiles, directory),
        },
        ArchiveReports,
        Archives,
        Points,
        ArchiveKeys,
        SiteRestic,
        ...CARE_PROVIDERS,
      ],
      exports: [Archives, Points, SiteRestic],
    };
  }
}

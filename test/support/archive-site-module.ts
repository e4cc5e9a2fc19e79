import path from 'node:path';
import type { DynamicModule } from '@nestjs/common';
import {
  ARCHIVE_JOBS,
  ARCHIVE_ORDERS,
  ARCHIVE_QUESTIONS,
  ArchivesModule,
  type ArchiveSettings,
} from '#libs/archive/site';
import { DatabaseModule } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { QueueModule } from '#libs/platform/queue';
import { ProcessDriver, SITES_JOBS, SitesModule } from '#libs/sites/site';

export interface ArchiveSiteHome {
  readonly siteId: string;
  readonly directory: string;
  /** The site's own database. */
  readonly url: string;
  /** Of the vault: the same after a restart, as agents know it. */
  readonly vaultPort: number;
  /** PEM (SPKI) of the key that the test signs orders with. */
  readonly orderPublicKey: string;
  readonly kekFile?: string;
  readonly oldKekFiles?: readonly string[];
  readonly serviceKey?: ArchiveSettings['serviceKey'];
}

/** A site process that archives, as apps/site puts it together, without its door for the control plane. */
export function archiveSiteModule(home: ArchiveSiteHome, level = 'silent', works = true): DynamicModule {
  class ArchiveSiteModule {}
  const archive: ArchiveSettings = {
    directory: path.join(home.directory, 'archive'),
    databaseUrl: home.url,
    vault: { host: '127.0.0.1', port: home.vaultPort, url: null, tls: null, storage: null },
    kekFile: home.kekFile ?? null,
    oldKekFiles: home.oldKekFiles ?? [],
    serviceKey: home.serviceKey ?? null,
    restic: null,
  };
  return {
    module: ArchiveSiteModule,
    imports: [
      TelemetryModule.forProcess('archive site under test', level),
      ClockModule,
      DatabaseModule.forSite({ url: home.url, applicationName: 'archive site under test' }),
      QueueModule.forProcess({
        url: home.url,
        prefix: home.siteId,
        runs: (works ? [...SITES_JOBS, ...ARCHIVE_JOBS] : []) as never,
      }),
      SitesModule.forProcess({
        settings: {
          siteId: home.siteId,
          name: 'test',
          directory: home.directory,
          frontDoorHost: '127.0.0.1',
          linkSocket: path.join(home.directory, 'link.sock'),
          siteSocket: path.join(home.directory, 'site.sock'),
          ports: { first: 21_000, last: 31_000 },
          postgresBin: null,
        },
        databaseUrl: home.url,
        orderPublicKey: home.orderPublicKey,
        driver: new ProcessDriver({ root: path.join(home.directory, 'standbys'), durable: false }),
        orders: ARCHIVE_ORDERS,
        questions: ARCHIVE_QUESTIONS,
      }),
      ArchivesModule.forProcess(archive),
    ],
  };
}

import { generateKeyPairSync } from 'node:crypto';
import path from 'node:path';
import type { DynamicModule } from '@nestjs/common';
import { FAILOVER_JOBS, FAILOVER_ORDERS, FailoverModule } from '#libs/failover/site';
import { DatabaseModule } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { QueueModule } from '#libs/platform/queue';
import { LinkRowsModule, PulseAnswers, PulseRequests, STANDBYS_JOBS, STANDBYS_ORDERS } from '#libs/replication/site';
import { ProcessDriver, type ProcessDriverOptions, SITES_JOBS, SitesModule } from '#libs/sites/site';

export interface SiteModuleHome {
  readonly siteId: string;
  readonly directory: string;
  /** The site's own database. */
  readonly url: string;
  /** How standbys are run; in the site's folder when left out. */
  readonly standbys?: ProcessDriverOptions;
  readonly driver?: ProcessDriver;
}

/** The site process's modules, as apps/site puts them together, without its network. */
export function siteModule(home: SiteModuleHome, level = 'silent', works = true): DynamicModule {
  const { publicKey } = generateKeyPairSync('ed25519');
  class SiteModule {}
  return {
    module: SiteModule,
    imports: [
      TelemetryModule.forProcess('site under test', level),
      ClockModule,
      DatabaseModule.forSite({ url: home.url, applicationName: 'site under test' }),
      QueueModule.forProcess({
        url: home.url,
        prefix: home.siteId,
        runs: (works ? [...SITES_JOBS, ...STANDBYS_JOBS, ...FAILOVER_JOBS] : []) as never,
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
        orderPublicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
        driver:
          home.driver ??
          new ProcessDriver(home.standbys ?? { root: path.join(home.directory, 'standbys'), durable: false }),
        orders: [...STANDBYS_ORDERS, ...FAILOVER_ORDERS] as never,
      }),
      LinkRowsModule,
      FailoverModule,
    ],
    providers: [PulseRequests, PulseAnswers],
  };
}

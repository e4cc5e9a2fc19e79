import type { OrderContract } from '#contracts/sites';
import { ARCHIVE_JOBS, ARCHIVE_ORDERS, ARCHIVE_QUESTIONS, ArchivesModule } from '#libs/archive/site';
import { FAILOVER_JOBS, FAILOVER_ORDERS, FailoverModule } from '#libs/failover/site';
import type { JobContract } from '#libs/platform/queue';
import { LinkRowsModule, STANDBYS_JOBS, STANDBYS_ORDERS, StandbysModule } from '#libs/replication/site';
import type { SiteEnvironment } from './site-environment.js';
import type { SiteDomains } from './site-process.module.js';

/** What every warm site does beside taking orders. */
export const SITE_DOMAINS: SiteDomains = {
  modules: [LinkRowsModule, StandbysModule, FailoverModule],
  orders: [...STANDBYS_ORDERS, ...FAILOVER_ORDERS] as unknown as readonly OrderContract<never>[],
  jobs: [...STANDBYS_JOBS, ...FAILOVER_JOBS] as unknown as readonly JobContract<never>[],
};

/** All that a site does; what it archives only where it has a vault. */
export function siteDomains({ archive }: Pick<SiteEnvironment, 'archive'>): SiteDomains {
  if (!archive) return SITE_DOMAINS;
  return {
    modules: [...SITE_DOMAINS.modules, ArchivesModule.forProcess(archive)],
    orders: [...SITE_DOMAINS.orders, ...ARCHIVE_ORDERS],
    jobs: [...SITE_DOMAINS.jobs, ...ARCHIVE_JOBS],
    questions: ARCHIVE_QUESTIONS,
  };
}

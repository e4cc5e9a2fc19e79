import type { OrderContract } from '#contracts/sites';
import { FAILOVER_JOBS, FAILOVER_ORDERS, FailoverModule } from '#libs/failover/site';
import type { JobContract } from '#libs/platform/queue';
import { LinkRowsModule, STANDBYS_JOBS, STANDBYS_ORDERS, StandbysModule } from '#libs/replication/site';
import type { SiteDomains } from './site-process.module.js';

/** All that a warm site does beside taking orders. */
export const SITE_DOMAINS: SiteDomains = {
  modules: [LinkRowsModule, StandbysModule, FailoverModule],
  orders: [...STANDBYS_ORDERS, ...FAILOVER_ORDERS] as unknown as readonly OrderContract<never>[],
  jobs: [...STANDBYS_JOBS, ...FAILOVER_JOBS] as unknown as readonly JobContract<never>[],
};

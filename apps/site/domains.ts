import { FAILOVER_JOBS, FAILOVER_ORDERS, FailoverModule } from '#libs/failover/site';
import type { OrderContract } from '#contracts/sites';
import { degradeOrder, preflightOrder, protectOrder, rearmOrder, unprotectOrder } from '#contracts/replication';
import type { JobContract } from '#libs/platform/queue';
import { LinkRowsModule, STANDBYS_JOBS, StandbysModule } from '#libs/replication/site';
import type { SiteDomains } from './site-process.module.js';

const REPLICATION_ORDERS = [preflightOrder, protectOrder, unprotectOrder, degradeOrder, rearmOrder] as const;

/** All that a warm site does beside taking orders. */
export const SITE_DOMAINS: SiteDomains = {
  modules: [LinkRowsModule, StandbysModule, FailoverModule],
  orders: [...REPLICATION_ORDERS, ...FAILOVER_ORDERS] as unknown as readonly OrderContract<never>[],
  jobs: [...STANDBYS_JOBS, ...FAILOVER_JOBS] as unknown as readonly JobContract<never>[],
};

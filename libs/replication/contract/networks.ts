import { z } from 'zod';
import { defineOrder, uuid } from '#contracts/sites';

/** A network in CIDR notation, `10.20.0.0/16` or `2001:db8::/48`. */
export const clientNetwork = z.union([z.cidrv4(), z.cidrv6()]);

/**
 * From where clients may come to a workload's front doors, before and after a promotion. An empty list: from nowhere. All
 * networks are said as such, `0.0.0.0/0` and `::/0`.
 */
export const clientNetworks = z.array(clientNetwork).max(100);

/** Changes that alone, also while a failover is under way or production runs at a site. */
export const clientNetworksOrder = defineOrder(
  'replication.client-networks',
  z.strictObject({ workloadId: uuid, clientNetworks }),
);
export type ClientNetworks = z.infer<typeof clientNetworksOrder.payload>;

import { randomUUID } from 'node:crypto';
import { DegradeOrderHandler, RearmOrderHandler } from '../../libs/replication/site/orders/arming.order.js';
import type { WarmSite } from './warm-site.js';

let orders = 1_000_000;
const head = ({ options: { tenantId } }: WarmSite) => ({ id: randomUUID(), number: ++orders, tenantId });

/** A person's grants, as the control plane orders them at a site. */
export const person = {
  async degrade(site: WarmSite, to: 'alone' | 'regional', requestId: string = randomUUID()): Promise<void> {
    const { workloadId } = site.options;
    const payload = { workloadId, requestId, seconds: 3_600, reason: 'the metro site is lost' };
    await site.app
      .get(DegradeOrderHandler)
      .carryOut({ ...head(site), payload: to === 'regional' ? { ...payload, to } : payload });
  },

  async rearm(site: WarmSite, requestId: string = randomUUID()): Promise<void> {
    const { workloadId } = site.options;
    await site.app.get(RearmOrderHandler).carryOut({ ...head(site), payload: { workloadId, requestId } });
  },
};

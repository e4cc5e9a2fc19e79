import type { z } from 'zod';
import { bringBackOrder } from '#contracts/archive';
import { NotFoundError } from '#libs/platform/errors';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { BringingBack } from '../retention/bringing-back.js';

type Wish = z.infer<typeof bringBackOrder.payload>;

/** Brings back what was removed from an archive, or from the copy of one that this site keeps. */
@CarriesOut(bringBackOrder)
export class BringBackHandler implements OrderHandler<Wish> {
  constructor(private readonly bringing: BringingBack) {}

  /** @throws NotFoundError, RemovalAtWorkError */
  async carryOut({ payload, tenantId }: ReceivedOrder<Wish>): Promise<void> {
    if (tenantId === null) throw new NotFoundError('agency');
    const { archiveId, since, keys = false, dropped = [] } = payload;
    await this.bringing.bringBack(archiveId, tenantId, new Date(since), { keys, dropped });
  }
}

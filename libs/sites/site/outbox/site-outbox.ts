import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { ResultContract } from '#contracts/sites';
import type { SiteTransaction } from '#libs/platform/database';

export interface ResultHead {
  readonly tenantId: string | null;
  readonly orderId?: string;
}

/** What this site has to tell the control plane, written with the change that it tells of. */
@Injectable()
export class SiteOutbox {
  /**
   * Writes a result into the caller's transaction; the control plane's look into the outbox wakes when it commits.
   *
   * @throws ZodError when the payload does not fit the contract: nothing unreadable is ever sent.
   */
  async emit<P>(tx: SiteTransaction, contract: ResultContract<P>, head: ResultHead, payload: P): Promise<void> {
    const checked = contract.payload.parse(payload);
    await tx.execute(`INSERT INTO site_result (id, kind, order_id, tenant_id, payload) VALUES ($1, $2, $3, $4, $5)`, [
      randomUUID(),
      contract.kind,
      head.orderId ?? null,
      head.tenantId,
      JSON.stringify(checked),
    ]);
  }
}

import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { RESULT_BYTES_MAX, type ResultContract, storable } from '#contracts/sites';
import type { SiteTransaction } from '#libs/platform/database';
import { ResultTooLargeError } from '../sites.errors.js';

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
   * @throws ResultTooLargeError when its JSON has more than {@link RESULT_BYTES_MAX} bytes
   */
  async emit<P>(tx: SiteTransaction, contract: ResultContract<P>, head: ResultHead, payload: P): Promise<void> {
    const checked = JSON.stringify(storable(contract.payload.parse(payload)));
    const bytes = Buffer.byteLength(checked);
    if (bytes > RESULT_BYTES_MAX) throw new ResultTooLargeError(contract.kind, bytes);
    await tx.execute(`INSERT INTO site_result (id, kind, order_id, tenant_id, payload) VALUES ($1, $2, $3, $4, $5)`, [
      randomUUID(),
      contract.kind,
      head.orderId ?? null,
      head.tenantId,
      checked,
    ]);
  }
}

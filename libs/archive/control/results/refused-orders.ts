import {
  allowExitOrder,
  bringBackOrder,
  dropPointOrder,
  ensureArchiveOrder,
  holdPointOrder,
  judgeChangeOrder,
  keepCopyOrder,
  restoreOrder,
  rotateKeysOrder,
  runArchiveOrder,
} from '#contracts/archive';
import { orderFailed, type ResultContract } from '#contracts/sites';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { z } from 'zod';
import { OPEN_RESTORES, OPEN_RUNS } from '../archive.states.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { type ArchiveRow, ArchiveStore } from '../archives/archive-store.js';

type Failed = typeof orderFailed extends ResultContract<infer P> ? P : never;

/** What an order that its site will never carry out was about. */
const about = z.object({
  archiveId: z.uuid(),
  runId: z.uuid().optional(),
  restoreId: z.uuid().optional(),
  dropId: z.uuid().optional(),
  changeId: z.uuid().optional(),
});

/** What people asked for, by the kind of its order. Nobody waits for a cancel of what has ended. */
const ASKED: Readonly<Record<string, string>> = {
  [ensureArchiveOrder.kind]: 'to archive it as it is now to be',
  [keepCopyOrder.kind]: 'to keep its second copy',
  [runArchiveOrder.kind]: 'to run it now',
  [restoreOrder.kind]: 'to restore from it',
  [holdPointOrder.kind]: 'to hold a recovery point, or to lift a hold',
  [dropPointOrder.kind]: 'to drop a recovery point',
  [judgeChangeOrder.kind]: 'to take your word on a suspected change',
  [rotateKeysOrder.kind]: 'to change its keys',
  [bringBackOrder.kind]: 'to bring back what was removed from it',
  [allowExitOrder.kind]: 'to let the whole archive be copied out',
};

/** An order about an archive that its site refused: what waited for it ends with the site's reason, and people are told. */
@AppliesResult(orderFailed)
export class ArchiveOrderRefusedHandler implements ResultHandler<Failed> {
  constructor(
    private readonly store: ArchiveStore,
    private readonly record: ArchiveRecord,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Failed>): Promise<void> {
    const { kind, code, message } = result.payload;
    if (!(kind in ASKED)) return;
    const [order] = await tx.query<{ payload: unknown; tenantId: string | null }>(
      `SELECT payload, tenant_id AS "tenantId" FROM outgoing_order WHERE id = $1 AND site_id = $2 AND kind = $3`,
      [result.orderId, result.siteId, kind],
    );
    const named = about.safeParse(order?.payload);
    if (!named.success || !order || order.tenantId === null) return;
    const archive = await this.store.find(tx, order.tenantId, named.data.archiveId);
    const second = kind === keepCopyOrder.kind;
    if (!archive || (second ? archive.secondSiteId : archive.siteId) !== result.siteId) return;
    if (!second) await this.end(tx, archive, kind, named.data, JSON.stringify({ code, message }));
    await this.record.tell(tx, archive, {
      kind: 'archives.refused',
      severity: 'alarm',
      title: `${archive.workloadName}: the site could not do what was asked of its archive`,
      text: `${second ? archive.secondSiteName : archive.siteName} was asked ${ASKED[kind]} and could not: ${message} (${code})`,
      about: { order: kind },
    });
  }

  private async end(
    tx: ProviderTransaction,
    { tenantId, id }: ArchiveRow,
    kind: string,
    { runId, restoreId, dropId, changeId }: z.infer<typeof about>,
    failure: string,
  ): Promise<void> {
    if (kind === ensureArchiveOrder.kind) {
      await tx.execute(
        `UPDATE archive SET failure = $3, state = CASE state WHEN 'preparing' THEN 'failed' ELSE state END
          WHERE tenant_id = $1 AND id = $2`,
        [tenantId, id, failure],
      );
    }
    if (runId !== undefined) {
      await tx.execute(
        `UPDATE archive_run SET state = 'failed', failure = $4, ended_at = now(), version = version + 1
          WHERE tenant_id = $1 AND archive_id = $2 AND id = $3 AND state = ANY($5)`,
        [tenantId, id, runId, failure, OPEN_RUNS],
      );
    }
    if (restoreId !== undefined) {
      await tx.execute(
        `UPDATE archive_restore SET state = 'failed', failure = $4, ended_at = now(), version = version + 1
          WHERE tenant_id = $1 AND archive_id = $2 AND id = $3 AND state = ANY($5)`,
        [tenantId, id, restoreId, failure, OPEN_RESTORES],
      );
    }
    if (dropId !== undefined) {
      await tx.execute(
        `UPDATE drop_request SET state = 'failed', failure = $3, finished_at = now()
          WHERE tenant_id = $1 AND id = $2 AND state = 'approved'`,
        [tenantId, dropId, failure],
      );
    }
    if (changeId !== undefined) {
      // So that it can be said again.
      await tx.execute(
        `UPDATE mass_change SET verdict = NULL, verdict_by = NULL, verdict_at = NULL
          WHERE tenant_id = $1 AND id = $2 AND state = 'suspected'`,
        [tenantId, changeId],
      );
    }
  }
}

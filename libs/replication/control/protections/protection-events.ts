import { Injectable } from '@nestjs/common';
import { type ResultContract, storableText } from '#contracts/sites';
import { noticeRaised, type Notice } from '#libs/notifications/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { Outbox } from '#libs/platform/outbox';
import type { AppliedResult } from '#libs/sites/control';
import type { ProtectionRow } from './protection-store.js';

/** As notices have them. */
const TITLE_MAX = 150;
const TEXT_MAX = 4_000;

export type NoticeText = Pick<Notice, 'kind' | 'severity' | 'title' | 'text'>;

/** Writes the history of protections, and tells people what matters in it. */
@Injectable()
export class ProtectionEvents {
  constructor(private readonly outbox: Outbox) {}

  /** Keeps a site's result for the history; its id makes repeating it change nothing. */
  async keep(
    tx: ProviderTransaction,
    contract: Pick<ResultContract, 'kind'>,
    protection: ProtectionRow,
    result: AppliedResult<unknown>,
  ): Promise<void> {
    await tx.execute(
      `INSERT INTO protection_event (tenant_id, id, workload_id, site_id, kind, payload, at)
       VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
      [
        protection.tenantId,
        result.id,
        protection.workloadId,
        result.siteId,
        contract.kind,
        JSON.stringify(result.payload),
        result.at,
      ],
    );
  }

  async tell(tx: ProviderTransaction, protection: ProtectionRow, notice: NoticeText): Promise<void> {
    await this.outbox.publish(tx, noticeRaised, protection.tenantId, {
      ...notice,
      // What sites and agents say is in them.
      title: storableText(notice.title, TITLE_MAX),
      text: storableText(notice.text, TEXT_MAX),
      subjectIds: { workloadId: protection.workloadId },
      dedupeKey: `${notice.kind} ${protection.workloadId}`,
    });
  }
}

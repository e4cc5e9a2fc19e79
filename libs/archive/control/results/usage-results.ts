import { archiveUsageResult, keyUseResult } from '#contracts/archive';
import type { ResultContract } from '#contracts/sites';
import { Usage } from '#libs/metering/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ForeignArchiveReportError } from '../archive.errors.js';
import { ReportingArchives } from './reporting-archives.js';

type Payload<C> = C extends ResultContract<infer P> ? P : never;
type UsageReport = Payload<typeof archiveUsageResult>;
type KeyUse = Payload<typeof keyUseResult>;

/** Bytes ingested, stored and restored, into the ledger; and what the second copy takes, by the word of its own site. */
@AppliesResult(archiveUsageResult)
export class UsageHandler implements ResultHandler<UsageReport> {
  constructor(
    private readonly reporting: ReportingArchives,
    private readonly usage: Usage,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<UsageReport>): Promise<void> {
    const { siteId } = result;
    const archive = await this.reporting.of(tx, result, true);
    const { id: subjectId, tenantId } = archive;
    const { factId, kind, amount, from, to } = result.payload;
    const keeper = siteId === archive.secondSiteId;
    if (keeper !== (kind === 'archive.copy-stored-bytes')) throw new ForeignArchiveReportError('usage', factId);
    const times = { from: new Date(from), to: new Date(to) };
    await this.usage.record(tx, { id: factId, tenantId, kind, subjectId, siteId, amount, ...times });
  }
}

/** Each opening of a key at the site. */
@AppliesResult(keyUseResult)
export class KeyUseHandler implements ResultHandler<KeyUse> {
  constructor(private readonly reporting: ReportingArchives) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<KeyUse>): Promise<void> {
    const archive = await this.reporting.of(tx, result, true);
    const { useId, purpose, at } = result.payload;
    await tx.execute(
      `INSERT INTO archive_key_use (tenant_id, id, archive_id, purpose, at) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT DO NOTHING`,
      [archive.tenantId, useId, archive.id, purpose, at],
    );
  }
}

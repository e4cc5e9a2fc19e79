import { Injectable } from '@nestjs/common';
import type { ProviderTransaction } from '#libs/platform/database';
import type { AppliedResult } from '#libs/sites/control';
import { ForeignArchiveReportError } from '../archive.errors.js';
import { type ArchiveRow, ArchiveStore } from '../archives/archive-store.js';

interface Named {
  readonly archiveId: string;
  readonly workloadId: string;
}

/** Finds the archive that a site tells of, with its workload's row held: whoever gives orders about it waits. */
@Injectable()
export class ReportingArchives {
  constructor(private readonly store: ArchiveStore) {}

  /**
   * @param alsoSecond whether the site of the second copy may say it too
   * @throws ForeignArchiveReportError when this site has nothing to say of that archive, or names it for another agency or
   *   workload: such a word is set aside
   */
  async of(tx: ProviderTransaction, result: AppliedResult<Named>, alsoSecond = false): Promise<ArchiveRow> {
    const { tenantId, siteId, payload } = result;
    if (tenantId !== null) {
      await tx.query(`SELECT id FROM workload WHERE tenant_id = $1 AND id = $2 FOR UPDATE`, [
        tenantId,
        payload.workloadId,
      ]);
      const archive = await this.store.find(tx, tenantId, payload.archiveId);
      const its = archive?.siteId === siteId || (alsoSecond && archive?.secondSiteId === siteId);
      if (archive && its && archive.workloadId === payload.workloadId) return archive;
    }
    throw new ForeignArchiveReportError('archive', payload.archiveId);
  }
}

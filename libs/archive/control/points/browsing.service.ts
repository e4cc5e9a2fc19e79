import { Injectable } from '@nestjs/common';
import { askFile, askTree, type TreeEntry } from '#contracts/archive';
import { UnitOfWork } from '#libs/platform/database';
import { type Bytes, SiteQuestions } from '#libs/sites/control';
import type { TenantCaller } from '#libs/tenancy/control';
import { KeyHeldByCustomerError } from '../archive.errors.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { Points } from './point.service.js';

export interface Folder {
  readonly entries: readonly TreeEntry[];
  readonly more: boolean;
}

/** Looks into recovery points by asking their site, which reads them itself or has the agent read them. */
@Injectable()
export class Browsing {
  constructor(
    private readonly work: UnitOfWork,
    private readonly points: Points,
    private readonly questions: SiteQuestions,
    private readonly record: ArchiveRecord,
  ) {}

  /** One page of a folder, in the order of names. @throws NotFoundError, PointGoneError, SiteUnreachableError, SiteRefusedError */
  async folder(
    tenantId: string,
    pointId: string,
    wanted: { readonly path: string; readonly after: string | null; readonly limit: number },
  ): Promise<Folder> {
    const { point, archive } = await this.work.tenant(tenantId, (tx) => this.points.look(tx, pointId));
    const { entries, more } = await this.questions.ask({
      siteId: archive.siteId,
      tenantId,
      contract: askTree,
      payload: { archiveId: archive.id, workloadId: archive.workloadId, snapshotId: point.snapshotId, ...wanted },
    });
    return { entries: entries.slice(0, wanted.limit), more: more || entries.length > wanted.limit };
  }

  /**
   * The bytes of one file. That somebody took it is in the audit log before the first byte of it is asked for.
   *
   * @throws NotFoundError, PointGoneError, KeyHeldByCustomerError, SiteUnreachableError, SiteRefusedError
   */
  async file(caller: TenantCaller, pointId: string, path: string, signal: AbortSignal): Promise<Bytes> {
    const { tenantId, actor } = caller;
    const { point, archive } = await this.work.tenant(tenantId, async (tx) => {
      const found = await this.points.look(tx, pointId);
      if (found.archive.keyMode === 'customer-held') {
        throw new KeyHeldByCustomerError(
          'The provider cannot read this archive, so it cannot hand a file out. Restore the file to the agent’s machine instead (POST /v1/restores).',
        );
      }
      const { snapshotId } = found.point;
      await this.record.did(tx, found.archive, actor, 'recovery-point.file-taken', { pointId, snapshotId, path });
      return found;
    });
    return this.questions.askBytes({
      siteId: archive.siteId,
      tenantId,
      contract: askFile,
      payload: { archiveId: archive.id, workloadId: archive.workloadId, snapshotId: point.snapshotId, path },
      signal,
    });
  }
}

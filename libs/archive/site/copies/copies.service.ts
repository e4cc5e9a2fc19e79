import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { Archives } from '../archives.service.js';
import { Readers } from '../retention/readers.js';
import { CopyForgetting } from './copy-forgetting.service.js';
import { CopyRows } from './copy-rows.service.js';
import { Sending } from './sending.service.js';

/** Brings what an archive holds to the site that keeps its second copy. */
@Injectable()
export class Copies {
  private readonly busy = new Set<string>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly rows: CopyRows,
    private readonly readers: Readers,
    private readonly sending: Sending,
    private readonly forgetting: CopyForgetting,
    private readonly logger: AppLogger,
  ) {}

  async due(limit: number): Promise<readonly string[]> {
    return (await this.rows.due(limit)).filter((id) => !this.busy.has(id));
  }

  /** Does nothing while it is at it already, or while the repository is pruned. */
  async replicate(archiveId: string, signal: AbortSignal): Promise<void> {
    if (this.busy.has(archiveId)) return;
    this.busy.add(archiveId);
    try {
      const archive = await this.work.run((tx) => this.archives.find(tx, archiveId));
      if (!archive || archive.second === null) return;
      await this.readers.read(archiveId, () => this.sending.bring(archive, signal));
      await this.forgetting.follow(archive, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      this.logger.log.warn({ archiveId, err: error }, 'a second copy could not be brought up to date');
      await this.rows.failed(archiveId, error);
    } finally {
      this.busy.delete(archiveId);
    }
  }
}

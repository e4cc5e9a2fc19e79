import { Injectable } from '@nestjs/common';
import type { ArchiveAlarm } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { JobQueue } from '#libs/platform/queue';
import { reconcileArchiveJob } from '../archives.jobs.js';
import { Archives } from '../archives.service.js';
import { VaultService } from '../vault/vault.module.js';
import { keptCopy } from '../copies/kept-copy.js';
import { alarmsOf } from './alarms.js';
import { UsageFacts } from './usage-facts.js';

/** Tells of an archive what has changed without anybody doing something: alarms, and what it stores. */
@Injectable()
export class Tellings {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly usage: UsageFacts,
    private readonly vault: VaultService,
    private readonly queue: JobQueue,
  ) {}

  /** Of a copy that this site keeps for another one: what it stores. */
  async lookAtCopy(archiveId: string): Promise<void> {
    const stored = await this.vault.storedBytes(archiveId);
    await this.work.run(async (tx) => {
      const copy = await keptCopy(tx, archiveId);
      if (copy) await this.usage.copyStored(tx, copy, stored);
    });
  }

  async look(archiveId: string, now: Date): Promise<void> {
    const stored = await this.vault.storedBytes(archiveId);
    await this.work.run(async (tx) => {
      const archive = await this.archives.lock(tx, archiveId);
      if (archive.state === 'ended') return;
      await this.usage.stored(tx, archive, stored);
      const alarms = await alarmsOf(tx, archive, now);
      if (said(alarms) !== said(archive.alarms)) {
        await tx.execute(`UPDATE archive SET alarms = $2 WHERE archive_id = $1`, [archiveId, JSON.stringify(alarms)]);
        await this.archives.tell(tx, archiveId);
      }
      if (archive.state === 'ending') tx.afterCommit(() => this.queue.wake(reconcileArchiveJob, { archiveId }));
    });
  }
}

/** What people read of them: as many objects as there are now, the last failure's words. */
const said = (alarms: readonly ArchiveAlarm[]): string => JSON.stringify(alarms.map(({ code, what }) => [code, what]));

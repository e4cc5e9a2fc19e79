import { Inject, Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import type { BackupTransport } from '#libs/platform/postgres/backup';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { StandbyNotServingError } from '../replication.errors.js';
import { Standbys } from '../standbys.service.js';

type Served = BackupTransport & { close(): Promise<void> };

/** A source nobody has asked for so long is closed: the other site was killed, or is done. */
const IDLE_MS = 10 * 60_000;

/** This site's standbys as sources for the other site of their pair. */
@Injectable()
export class PeerBackups implements BeforeApplicationShutdown {
  private readonly open = new Map<string, { source: Promise<Served>; idle: NodeJS.Timeout }>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  /** @throws StandbyNotServingError while there is no whole copy here */
  async of(workloadId: string): Promise<BackupTransport> {
    const standby = await this.work.run((tx) => this.standbys.find(tx, workloadId));
    const serves = standby !== undefined && (standby.state === 'streaming' || standby.state === 'primary');
    if (!serves) throw new StandbyNotServingError(standby?.state ?? 'absent');
    const present = this.open.get(workloadId);
    if (present) {
      present.idle.refresh();
      return present.source;
    }
    const source = this.driver.backupSource(workloadId);
    const idle = setTimeout(() => void this.close(workloadId), IDLE_MS);
    idle.unref();
    const opening = { source, idle };
    this.open.set(workloadId, opening);
    // Whoever asked is told of its failure; the next asks for another, which this one's end must not close.
    source.catch(() => {
      clearTimeout(idle);
      if (this.open.get(workloadId) === opening) this.open.delete(workloadId);
    });
    return source;
  }

  /** The other site has all it wants, or the standby is about to change. */
  async close(workloadId: string): Promise<void> {
    const present = this.open.get(workloadId);
    if (!present) return;
    clearTimeout(present.idle);
    this.open.delete(workloadId);
    await present.source.then(
      (source) => source.close(),
      // What failed to open has nothing to close.
      () => undefined,
    );
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([...this.open.keys()].map((workloadId) => this.close(workloadId)));
  }
}

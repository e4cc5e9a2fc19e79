import { type BeforeApplicationShutdown, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { UnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { type SiteAddress, SiteEndpoints } from './site-endpoint.js';

/** Well within a site's patience with an idle connection (60 s). */
const EVERY_MS = 15_000;
const TIMEOUT_MS = 3_000;

/** Keeps a connection to every site open, so that a declaration's order pays no handshake. */
@Injectable()
export class WarmConnections implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly stopping = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly work: UnitOfWork,
    private readonly endpoints: SiteEndpoints,
    private readonly logger: AppLogger,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => void this.warm(), EVERY_MS);
    void this.warm();
  }

  beforeApplicationShutdown(): void {
    clearInterval(this.timer);
    this.stopping.abort(new Error('this process is stopping'));
  }

  private async warm(): Promise<void> {
    try {
      const sites = await this.work.provider((tx) =>
        tx.query<SiteAddress>(
          `SELECT id AS "siteId", order_host AS host, order_port AS port,
                  order_certificate_fingerprint AS "certificateFingerprint" FROM site WHERE retired_at IS NULL`,
        ),
      );
      await Promise.all(sites.map((site) => this.touch(site)));
    } catch (error) {
      this.logger.log.debug({ reason: errorText(error) }, 'cannot look for sites');
    }
  }

  private async touch(site: SiteAddress): Promise<void> {
    const { signal } = this.stopping;
    await this.endpoints
      .call(site, { method: 'GET', path: '/health', timeoutMs: TIMEOUT_MS, signal })
      .catch((error: unknown) => {
        this.logger.log.debug({ siteId: site.siteId, reason: errorText(error) }, 'no warm connection');
      });
  }
}

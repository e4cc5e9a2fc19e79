import { randomUUID } from 'node:crypto';
import { pause } from '#libs/platform/clock';
import { Injectable, type OnApplicationBootstrap, type BeforeApplicationShutdown } from '@nestjs/common';
import { outboxPage } from '#contracts/sites';
import { UnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { type SiteAddress, SiteEndpoints } from '../connections/site-endpoint.js';
import { ResultApplying } from './result-applying.js';

/**
 * How long a site may hold a look into its outbox open. Results end it at once; without any, its end brings the next
 * snapshot, and health counts as unknown once a snapshot is ten seconds old.
 */
const WAIT_SECONDS = 2;
const ANSWER_TIMEOUT_MS = (WAIT_SECONDS + 3) * 1_000;
/** Longer than one look and what it brings; short, so that a killed worker's sites are taken over soon. */
const LEAD_SECONDS = 7;
const SNAPSHOT_EVERY_MS = 1_000;

/**
 * Listens to every site's outbox: one long-polling loop by site. Of several workers one leads by site; the cursor's
 * row keeps results exactly once even while two believe that they do.
 */
@Injectable()
export class ResultStreams implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly me = randomUUID();
  private readonly stopping = new AbortController();
  private readonly loops = new Map<string, Promise<void>>();
  private finding: Promise<void> = Promise.resolve();

  constructor(
    private readonly work: UnitOfWork,
    private readonly endpoints: SiteEndpoints,
    private readonly applying: ResultApplying,
    private readonly logger: AppLogger,
  ) {}

  onApplicationBootstrap(): void {
    this.finding = this.findSites();
  }

  /** Before the pools close, so that the lead can be left to others at once. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort(new Error('this process is stopping'));
    await Promise.allSettled([this.finding, ...this.loops.values()]);
    await this.work
      .provider((tx) =>
        tx.execute(`UPDATE site_state SET leader = NULL, leader_until = NULL WHERE leader = $1`, [this.me]),
      )
      .catch((error: unknown) => this.logger.log.debug({ err: error }, 'leaving the sites to others'));
  }

  private async findSites(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      try {
        for (const siteId of await this.sites()) {
          if (!this.loops.has(siteId)) this.loops.set(siteId, this.listen(siteId));
        }
      } catch (error) {
        this.logger.log.warn({ err: error }, 'cannot look for sites');
      }
      await this.pause(1_000);
    }
  }

  /** A retired site is listened to as long as an order of its is open: it may still have to say that it is done. */
  private async sites(): Promise<string[]> {
    const rows = await this.work.provider((tx) =>
      tx.query<{ id: string }>(
        `SELECT id FROM site WHERE retired_at IS NULL
            OR EXISTS (SELECT FROM outgoing_order o WHERE o.site_id = site.id AND o.state IN ('pending', 'delivered'))`,
      ),
    );
    return rows.map(({ id }) => id);
  }

  private async listen(siteId: string): Promise<void> {
    let failures = 0;
    let keptAt = 0;
    while (!this.stopping.signal.aborted) {
      try {
        const led = await this.lead(siteId);
        if (!led) {
          await this.pause(500 + Math.random() * 500);
          continue;
        }
        keptAt = await this.look(led, keptAt);
        failures = 0;
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        failures += 1;
        if (failures === 1) await this.lost(siteId, error);
        await this.pause(Math.min(2_000, 100 * 2 ** failures) * (0.5 + Math.random() / 2));
      }
    }
  }

  /** Takes or keeps the lead of a site, and answers where its cursor stands. */
  private async lead(siteId: string): Promise<(SiteAddress & { seq: number }) | undefined> {
    const [row] = await this.work.provider((tx) =>
      tx.query<SiteAddress & { seq: string }>(
        `UPDATE site_state SET leader = $2, leader_until = now() + interval '${LEAD_SECONDS} seconds'
           FROM site
          WHERE site_id = $1 AND site.id = site_id AND (leader = $2 OR leader IS NULL OR leader_until < now())
          RETURNING site_id AS "siteId", result_seq AS seq, order_host AS host, order_port AS port,
                    order_certificate_fingerprint AS "certificateFingerprint"`,
        [siteId, this.me],
      ),
    );
    return row && { ...row, seq: Number(row.seq) };
  }

  private async look(site: SiteAddress & { seq: number }, keptAt: number): Promise<number> {
    const answer = await this.endpoints.call(site, {
      method: 'GET',
      path: `/v1/outbox?after=${site.seq}&wait=${WAIT_SECONDS}`,
      timeoutMs: ANSWER_TIMEOUT_MS,
      signal: this.stopping.signal,
    });
    if (answer.status !== 200) throw new Error(`the site answered ${answer.status} to a look into its outbox`);
    const page = outboxPage.parse(answer.body);
    if (page.snapshot.siteId !== site.siteId) throw new Error('another site answers at this address');
    for (const result of page.results) await this.applying.apply(site.siteId, result);
    const now = performance.now();
    if (page.results.length > 0 && now - keptAt < SNAPSHOT_EVERY_MS) return keptAt;
    await this.applying.keep(site.siteId, page.snapshot);
    return now;
  }

  private async lost(siteId: string, error: unknown): Promise<void> {
    this.logger.log.warn({ err: error, siteId }, 'cannot look into a site’s outbox; trying again');
    await this.work
      .provider((tx) =>
        tx.execute(`UPDATE site_state SET last_error = $2 WHERE site_id = $1`, [
          siteId,
          errorText(error).slice(0, 500),
        ]),
      )
      .catch((second: unknown) => this.logger.log.debug({ err: second }, 'noting a lost site'));
  }

  private async pause(milliseconds: number): Promise<void> {
    await pause(milliseconds, this.stopping.signal);
  }
}

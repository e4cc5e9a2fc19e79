import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { VaultService } from '../vault/vault.module.js';
import { partsFor } from './check-rota.js';
import { Checks } from './checks.service.js';

const DAY_MS = 86_400_000;

/** Reads what this site keeps for other sites: each day the part whose day it is, so that no row need remember it. */
@Injectable()
export class KeptCopies {
  private readonly checked = new Map<string, number>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly checks: Checks,
    private readonly vault: VaultService,
    private readonly clock: Clock,
  ) {}

  async due(limit: number): Promise<readonly string[]> {
    const today = this.today();
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(`SELECT archive_id AS id FROM archive_kept_copy ORDER BY archive_id`),
    );
    return rows
      .map(({ id }) => id)
      .filter((id) => this.checked.get(id) !== today)
      .slice(0, limit);
  }

  async check(archiveId: string, signal: AbortSignal): Promise<void> {
    const today = this.today();
    const of = partsFor(await this.vault.storedBytes(archiveId));
    await this.checks.checkCopy(archiveId, (today % of) + 1, of, signal);
    this.checked.set(archiveId, today);
  }

  private today(): number {
    return Math.floor(this.clock.now().getTime() / DAY_MS);
  }
}

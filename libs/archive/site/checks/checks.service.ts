import { Injectable } from '@nestjs/common';
import type { Failure } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { Archives } from '../archives.service.js';
import { AGENT_NEEDED } from '../copies/agent-turn.js';
import { Readers } from '../retention/readers.js';
import { VaultService } from '../vault/vault.module.js';
import { type CheckedPart, isInPart, nextPart, partsFor } from './check-rota.js';
import { Damages } from './damages.service.js';
import { isFinding, ResticChecks } from './restic-checks.js';

/** One that could not be made is tried again so soon, with the same part: its turn is not over before it was read. */
const AGAIN_MS = 3_600_000;
/** So soon where the agent is at a restore or a run: with an hour, a run of every hour would always be in its way. */
const MADE_WAY_MS = 300_000;
/** So long the hashes that were read for it count. */
const FRESH_MS = 86_400_000;

/** What of a part was read by its hashes, and when; the rest could not be made, and waits. Times by the monotonic clock. */
interface Begun {
  readonly part: number;
  readonly of: number;
  readonly restsUntil: number;
  readonly read: { readonly bytes: number; readonly damaged: number; readonly at: number };
}

/** Reads what archives hold, a part a day, so that all of it has been read in 30 days. */
@Injectable()
export class Checks {
  /** By the monotonic clock; what a restart forgets is tried again at once. */
  private readonly begun = new Map<string, Begun>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly readers: Readers,
    private readonly restic: ResticChecks,
    private readonly vault: VaultService,
    private readonly damages: Damages,
  ) {}

  async due(limit: number): Promise<readonly string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT a.archive_id AS id FROM archive a
           LEFT JOIN (SELECT archive_id, max(checked_at) AS at FROM archive_check GROUP BY 1) c USING (archive_id)
          WHERE a.state IN ('active', 'paused', 'ending')
            AND (c.at IS NULL OR c.at < clock_timestamp() - interval '23 hours')
            AND EXISTS (SELECT FROM archive_point p WHERE p.archive_id = a.archive_id AND p.forgotten_at IS NULL)
            AND a.archive_id <> ALL($2::uuid[])
          ORDER BY c.at NULLS FIRST LIMIT $1`,
        [limit, this.resting()],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /** Checks the part whose turn it is; does nothing while the repository is pruned. */
  async check(archiveId: string, signal: AbortSignal): Promise<void> {
    const archive = await this.work.run((tx) => this.archives.find(tx, archiveId));
    if (!archive) return;
    const of = partsFor(await this.vault.storedBytes(archiveId));
    const part = await this.turn(archiveId, of);
    await this.readers.read(archiveId, async () => {
      const read = await this.readOnce(archiveId, part, of, signal);
      const { bytes, damaged } = read;
      // restic would ask for each damaged object for a quarter of an hour; that they are damaged is known.
      const failure = damaged > 0 ? DAMAGED(damaged) : await this.restic.check(archive, { part, of }, signal);
      if (failure && !isFinding(failure)) {
        const rest = failure.code === AGENT_NEEDED ? MADE_WAY_MS : AGAIN_MS;
        this.begun.set(archiveId, { part, of, read, restsUntil: performance.now() + rest });
        return;
      }
      this.begun.delete(archiveId);
      await this.work.run(async (tx) => {
        await tx.execute(`DELETE FROM archive_check WHERE archive_id = $1 AND of <> $2`, [archiveId, of]);
        await tx.execute(
          `INSERT INTO archive_check (archive_id, part, of, checked_at, bytes, failure)
           VALUES ($1, $2, $3, clock_timestamp(), $4, $5)
           ON CONFLICT (archive_id, of, part) DO UPDATE
             SET checked_at = excluded.checked_at, bytes = excluded.bytes, failure = excluded.failure`,
          [archiveId, part, of, bytes, failure && JSON.stringify(failure)],
        );
        await this.archives.tell(tx, archiveId);
      });
    });
  }

  /**
   * The same for what this site keeps for another one, of which it has no key: the hashes. A damaged object is laid
   * aside until it has come again from the first site, which may be gone.
   */
  async checkCopy(archiveId: string, part: number, of: number, signal: AbortSignal): Promise<void> {
    await this.vault.removed.discardReplaced(archiveId);
    await this.readAll(archiveId, part, of, signal);
  }

  private resting(): readonly string[] {
    return [...this.begun].filter(([, { restsUntil }]) => performance.now() < restsUntil).map(([id]) => id);
  }

  /** Not all of a part's bytes again each hour, only because its agent is away. */
  private async readOnce(archiveId: string, part: number, of: number, signal: AbortSignal): Promise<Begun['read']> {
    const begun = this.begun.get(archiveId);
    const fresh = begun?.part === part && begun.of === of && performance.now() - begun.read.at < FRESH_MS;
    return fresh ? begun.read : { ...(await this.readAll(archiveId, part, of, signal)), at: performance.now() };
  }

  private async turn(archiveId: string, of: number): Promise<number> {
    const checked = await this.work.run((tx) =>
      tx.query<CheckedPart>(
        `SELECT part, checked_at AS "checkedAt" FROM archive_check WHERE archive_id = $1 AND of = $2`,
        [archiveId, of],
      ),
    );
    return nextPart(of, checked);
  }

  /** Hashes the part's packs, and all that is not a pack: they are few, and nothing can be read without them. */
  private async readAll(
    archiveId: string,
    part: number,
    of: number,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: number; readonly damaged: number }> {
    let bytes = 0;
    let damaged = await this.damages.again(archiveId);
    for (const type of ['keys', 'snapshots', 'index', 'data'] as const) {
      for await (const object of this.vault.objects.list(archiveId, type)) {
        if (type === 'data' && !isInPart(object.id, part, of)) continue;
        signal.throwIfAborted();
        bytes += object.bytes;
        const name = { type, id: object.id };
        if ((await this.vault.objects.look(archiveId, name)) === 'sound') continue;
        if ((await this.damages.found(archiveId, name)) === 'damaged') damaged += 1;
      }
    }
    return { bytes, damaged };
  }
}

const DAMAGED = (count: number): Failure => ({
  code: 'archive.damaged',
  message: `${count} objects are damaged, and could not be repaired from a second copy yet.`,
});

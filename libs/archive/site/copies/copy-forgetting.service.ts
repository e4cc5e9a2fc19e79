import { Injectable } from '@nestjs/common';
import type { CopyAccess } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import type { ArchiveRow } from '../archive.row.js';
import { ArchiveKeys } from '../keys/archive-keys.js';
import { VaultService } from '../vault/vault.module.js';
import { AgentTurn } from './agent-turn.js';
import { CopyPruning } from './copy-pruning.service.js';
import { CopySite } from './copy-site.js';
import { RemoteVault } from './remote-vault.js';

const EVERY_MS = 86_400_000;
/** What failed is left alone for so long: each attempt has the keeper make two credentials. */
const AGAIN_MS = 1_800_000;
/** As many as one work of an agent's may name; the others go another day. */
const POINTS_AT_ONCE = 1_000;

interface Gone {
  readonly points: readonly string[];
  readonly keys: readonly string[];
}

/**
 * Lets recovery points go from the second copy that were let go here, and keys that a rotation took away: those and no others,
 * whatever is missing here. The copy's own minimum age is the keeper's to hold.
 */
@Injectable()
export class CopyForgetting {
  /** Until when nothing is done, in milliseconds since 1970. */
  private readonly resting = new Map<string, number>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly site: CopySite,
    private readonly pruning: CopyPruning,
    private readonly turn: AgentTurn,
    private readonly keys: ArchiveKeys,
    private readonly vault: VaultService,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  /**
   * Once a day at the most, and not under a hold. What fails is tried again after a while, and so is what made way for a
   * restore or a run.
   */
  async follow(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const { archiveId } = archive;
    const now = this.clock.now().getTime();
    if (now < (this.resting.get(archiveId) ?? 0)) return;
    const gone = await this.gone(archive);
    if (gone.points.length === 0 && gone.keys.length === 0) return;
    try {
      await this.turn.beside(archive, signal, (mine) => this.remove(archive, gone, mine));
      this.resting.set(archiveId, now + EVERY_MS);
    } catch (error) {
      if (signal.aborted) throw error;
      this.resting.set(archiveId, now + AGAIN_MS);
      this.logger.log.warn({ archiveId, reason: errorText(error) }, 'a second copy could not be tidied up');
    }
  }

  private async remove(archive: ArchiveRow, gone: Gone, signal: AbortSignal): Promise<void> {
    const { points, keys } = await this.site.with(archive, signal, (copy) =>
      this.presentIn(copy, archive, gone, signal),
    );
    if (points.length === 0 && keys.length === 0) return;
    await this.site.maintaining(archive, signal, async (access) => {
      await removeKeys(access, keys, signal);
      if (points.length > 0) await this.pruning.forget(archive, access, points, signal);
    });
  }

  /** To look again before the day is over. */
  again(archiveId: string): void {
    this.resting.delete(archiveId);
  }

  /**
   * Points that retention, or two people, have let go, and keys that a rotation took away; nothing while an unusual change is
   * looked into, or under a hold.
   */
  private gone({ archiveId }: ArchiveRow): Promise<Gone> {
    return this.work.run(async (tx) => {
      const [held] = await tx.query(
        `SELECT FROM vault_repository WHERE repository_id = $1 AND held_because IS NOT NULL`,
        [archiveId],
      );
      if (held) return { points: [], keys: [] };
      const points = await tx.query<{ id: string }>(
        `SELECT snapshot_id AS id FROM archive_point
          WHERE archive_id = $1 AND forgotten_because IN ('retention', 'two-people')`,
        [archiveId],
      );
      const keys = await this.keys.removed(tx, archiveId);
      return { points: points.map(({ id }) => id), keys };
    });
  }

  /** Of them, what is there. A key that is here too, brought back by people, stays; and one that opens it always does. */
  private async presentIn(
    copy: RemoteVault,
    { archiveId }: ArchiveRow,
    gone: Gone,
    signal: AbortSignal,
  ): Promise<Gone> {
    const there = gone.points.length === 0 ? undefined : await copy.list('snapshots', signal);
    const points = gone.points.filter((id) => there?.has(id)).slice(0, POINTS_AT_ONCE);
    if (gone.keys.length === 0) return { points, keys: [] };
    const here = new Set<string>();
    for await (const { id } of this.vault.objects.list(archiveId, 'keys')) here.add(id);
    const keysThere = [...(await copy.list('keys', signal)).keys()];
    const keys = keysThere.filter((id) => !here.has(id) && gone.keys.some((key) => id.startsWith(key)));
    return { points, keys: keysThere.some((id) => here.has(id)) ? keys : [] };
  }
}

/** What the keeper retains goes another day. */
async function removeKeys(access: CopyAccess, keys: readonly string[], signal: AbortSignal): Promise<void> {
  const copy = new RemoteVault(access);
  try {
    for (const id of keys) await copy.remove({ type: 'keys', id }, signal);
  } finally {
    copy.close();
  }
}

import type { ObjectName } from './object-names.js';
import type { RemovalsUnderWay } from './removals-under-way.js';
import type { RepositoryUsage } from './repository-usage.js';
import type { LaidAside, VaultStorage } from './storage.js';

/** In this order whatever is back already can be restored: packs before the index that names them, points last. */
const ORDER: readonly ObjectName['type'][] = ['config', 'keys', 'data', 'index', 'snapshots'];

/** Added to the time in milliseconds of what was laid aside for its wrong bytes: it does not go with what was removed. */
const DAMAGED = 900_000_000_000_000;
const isDamaged = ({ removedAt }: LaidAside): boolean => removedAt.getTime() >= DAMAGED;
/** By then it was brought back, or nobody sends it again, since it was not needed any more. */
const DAMAGED_KEPT_MS = 366 * 86_400_000;

/** What clients removed and the vault still has: brought back, or gone for good after some days. */
export class RemovedObjects {
  constructor(
    private readonly storage: VaultStorage,
    private readonly usage: RepositoryUsage,
    private readonly removals: RemovalsUnderWay,
  ) {}

  /**
   * Gives back what was removed since then, also by removals that are under way: who wants an end of them shuts them out
   * first. What is there again stays as it is. Safe to repeat: whatever broke off goes on.
   *
   * @param wanted which of them; all when left out
   * @returns those that came back now.
   */
  async bringBack(
    repository: string,
    since: Date,
    wanted: (aside: LaidAside) => boolean = () => true,
  ): Promise<readonly ObjectName[]> {
    await this.removals.ended(repository);
    const removed: LaidAside[] = [];
    for await (const aside of this.storage.laidAside(repository)) {
      if (aside.removedAt >= since && !isDamaged(aside) && wanted(aside)) removed.push(aside);
    }
    removed.sort((a, b) => ORDER.indexOf(a.name.type) - ORDER.indexOf(b.name.type));
    const returned: ObjectName[] = [];
    if (removed.length > 0) await this.usage.counted(repository);
    for (const aside of removed) {
      if ((await this.storage.bringBack(repository, aside)) === 'returned') returned.push(aside.name);
    }
    return returned;
  }

  /** For what a client has added and the site finds to be no part of the repository. */
  async layAside(repository: string, name: ObjectName, at: Date): Promise<boolean> {
    await this.usage.counted(repository);
    return this.storage.layAside(repository, name, at);
  }

  /** What a repository has lost and could have back. */
  async since(repository: string, since: Date): Promise<{ readonly objects: number; readonly bytes: number }> {
    let [objects, bytes] = [0, 0];
    for await (const aside of this.storage.laidAside(repository)) {
      if (aside.removedAt < since || isDamaged(aside)) continue;
      objects += 1;
      bytes += aside.bytes;
    }
    return { objects, bytes };
  }

  /**
   * Takes an object out of the way whose bytes are wrong, so that its right ones can come again. Until then it stays: when
   * they never come, most of it may still be worth something. An earlier one of its name goes with it
   * ({@link discardReplaced}, once for all of a check: a fault of many objects would look through all for each).
   */
  async layDamagedAside(repository: string, name: ObjectName): Promise<void> {
    await this.layAside(repository, name, new Date(DAMAGED + Date.now()));
  }

  /** Removes for good what was damaged and has come again, and what has not for a year. Safe to repeat. */
  async discardReplaced(repository: string): Promise<void> {
    for await (const aside of this.storage.laidAside(repository)) {
      if (!isDamaged(aside)) continue;
      const old = aside.removedAt.getTime() < DAMAGED + Date.now() - DAMAGED_KEPT_MS;
      if (!old && !(await this.storage.stat(repository, aside.name))) continue;
      await this.discard(repository, aside);
    }
  }

  /** Removes for good what was laid aside before then. Safe to repeat. @returns how many. */
  async discardBefore(repository: string, before: Date, signal?: AbortSignal): Promise<number> {
    let discarded = 0;
    for await (const aside of this.storage.laidAside(repository)) {
      if (signal?.aborted) break;
      if (aside.removedAt >= before) continue;
      await this.discard(repository, aside);
      discarded += 1;
    }
    return discarded;
  }

  private async discard(repository: string, aside: LaidAside): Promise<void> {
    await this.usage.counted(repository);
    await this.storage.discardAside(repository, aside);
    await this.usage.removed(repository, aside.bytes);
  }
}

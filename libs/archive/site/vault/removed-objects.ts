import type { ObjectName } from './object-names.js';
import type { RepositoryUsage } from './repository-usage.js';
import type { LaidAside, VaultStorage } from './storage.js';

/** In this order whatever is back already can be restored: packs before the index that names them, points last. */
const ORDER: readonly ObjectName['type'][] = ['config', 'keys', 'data', 'index', 'snapshots'];

/** What clients removed and the vault still has: brought back, or gone for good after some days. */
export class RemovedObjects {
  constructor(
    private readonly storage: VaultStorage,
    private readonly usage: RepositoryUsage,
  ) {}

  /**
   * Gives back what was removed since then. What is there again stays as it is. Safe to repeat: whatever broke off goes on.
   *
   * @param wanted which of them; all when left out
   * @returns those that came back now.
   */
  async bringBack(
    repository: string,
    since: Date,
    wanted: (name: ObjectName) => boolean = () => true,
  ): Promise<readonly ObjectName[]> {
    const removed: LaidAside[] = [];
    for await (const aside of this.storage.laidAside(repository)) {
      if (aside.removedAt >= since && wanted(aside.name)) removed.push(aside);
    }
    removed.sort((a, b) => ORDER.indexOf(a.name.type) - ORDER.indexOf(b.name.type));
    const returned: ObjectName[] = [];
    for (const aside of removed) {
      if ((await this.storage.bringBack(repository, aside)) === 'returned') returned.push(aside.name);
    }
    return returned;
  }

  /** For what a client has added and the site finds to be no part of the repository. */
  layAside(repository: string, name: ObjectName, at: Date): Promise<boolean> {
    return this.storage.layAside(repository, name, at);
  }

  /** What a repository has lost and could have back. */
  async since(repository: string, since: Date): Promise<{ readonly objects: number; readonly bytes: number }> {
    let [objects, bytes] = [0, 0];
    for await (const aside of this.storage.laidAside(repository)) {
      if (aside.removedAt < since) continue;
      objects += 1;
      bytes += aside.bytes;
    }
    return { objects, bytes };
  }

  /** Removes for good what was laid aside before then. Safe to repeat. @returns how many. */
  async discardBefore(repository: string, before: Date, signal?: AbortSignal): Promise<number> {
    let discarded = 0;
    for await (const aside of this.storage.laidAside(repository)) {
      if (signal?.aborted) break;
      if (aside.removedAt >= before) continue;
      await this.storage.discardAside(repository, aside);
      await this.usage.removed(repository, aside.bytes);
      discarded += 1;
    }
    return discarded;
  }
}

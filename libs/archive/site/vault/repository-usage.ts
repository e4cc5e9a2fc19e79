import { OBJECT_TYPES } from './object-names.js';
import type { VaultStorage } from './storage.js';
import { QuotaReachedError } from './vault.errors.js';

interface Usage {
  stored: number;
  /** Of uploads under way: promised, so that many at once cannot pass the quota together. */
  reserved: number;
}

/**
 * How many bytes each repository holds, with what was removed and is kept for some days. Counted once from the storage,
 * then kept up to date by every upload and removal of this process, which is the only one that writes to the site's vault.
 */
export class RepositoryUsage {
  private readonly usages = new Map<string, Promise<Usage>>();

  constructor(private readonly storage: VaultStorage) {}

  async bytes(repository: string): Promise<number> {
    return (await this.of(repository)).stored;
  }

  /**
   * Resolves once it has been counted: to be waited for before anything of it is moved or taken away. What went before
   * would be subtracted from a count that has not met it, and what moves meanwhile be met in both places.
   */
  async counted(repository: string): Promise<void> {
    await this.of(repository);
  }

  /** Of uploads under way. */
  async reserved(repository: string): Promise<number> {
    return (await this.of(repository)).reserved;
  }

  /**
   * Sets room aside for an upload, until what is returned is called, once, with how many bytes it has stored.
   *
   * @throws QuotaReachedError
   */
  async reserve(repository: string, bytes: number, quotaBytes: number | null): Promise<(stored: number) => void> {
    const counting = this.of(repository);
    const usage = await counting;
    if (quotaBytes !== null && usage.stored + usage.reserved + bytes > quotaBytes)
      throw new QuotaReachedError(quotaBytes);
    usage.reserved += bytes;
    return (stored) => {
      usage.reserved -= bytes;
      usage.stored += stored;
      // Another count, begun since: nobody knows whether it has met what was stored.
      if (stored > 0 && this.usages.get(repository) !== counting) this.forget(repository);
    };
  }

  /** After {@link counted}. */
  async removed(repository: string, bytes: number): Promise<void> {
    (await this.of(repository)).stored -= bytes;
  }

  forget(repository: string): void {
    this.usages.delete(repository);
  }

  private of(repository: string): Promise<Usage> {
    const known = this.usages.get(repository);
    if (known) return known;
    const counting = this.count(repository);
    this.usages.set(repository, counting);
    // A count that failed is made again by the next who asks, unless that has begun.
    counting.catch(() => {
      if (this.usages.get(repository) === counting) this.usages.delete(repository);
    });
    return counting;
  }

  private async count(repository: string): Promise<Usage> {
    const config = await this.storage.stat(repository, { type: 'config' });
    const usage = { stored: config?.bytes ?? 0, reserved: 0 };
    for (const type of OBJECT_TYPES) {
      for await (const object of this.storage.list(repository, type)) usage.stored += object.bytes;
    }
    for await (const aside of this.storage.laidAside(repository)) usage.stored += aside.bytes;
    return usage;
  }
}

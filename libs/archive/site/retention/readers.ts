import { Injectable } from '@nestjs/common';

/**
 * Who reads which repository in this process, past its locks. A prune takes packs away that a reader still wants, so it
 * waits for another time, and readers do while it runs. Work that has the repository for itself (Archives.hold) needs none
 * of this.
 */
@Injectable()
export class Readers {
  private readonly reading = new Map<string, number>();
  private readonly pruned = new Set<string>();

  /** @returns undefined, and does nothing, while the repository is pruned */
  async read<T>(archiveId: string, work: () => Promise<T>): Promise<T | undefined> {
    const leave = this.enter(archiveId);
    if (!leave) return undefined;
    try {
      return await work();
    } finally {
      leave();
    }
  }

  /** For whoever reads until something else ends: what it returns is called then, once or more. Undefined as {@link read}. */
  enter(archiveId: string): (() => void) | undefined {
    if (this.pruned.has(archiveId)) return undefined;
    this.reading.set(archiveId, (this.reading.get(archiveId) ?? 0) + 1);
    let reads = true;
    return () => {
      if (!reads) return;
      reads = false;
      const left = (this.reading.get(archiveId) ?? 1) - 1;
      if (left > 0) this.reading.set(archiveId, left);
      else this.reading.delete(archiveId);
    };
  }

  /** @returns undefined, and does nothing, while somebody reads */
  async alone<T>(archiveId: string, work: () => Promise<T>): Promise<T | undefined> {
    if (this.reading.has(archiveId) || this.pruned.has(archiveId)) return undefined;
    this.pruned.add(archiveId);
    try {
      return await work();
    } finally {
      this.pruned.delete(archiveId);
    }
  }
}

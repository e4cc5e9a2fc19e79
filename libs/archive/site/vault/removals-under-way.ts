/** Removals that were let through and have not ended: whoever undoes removals has to wait for them. */
export class RemovalsUnderWay {
  private readonly all = new Map<string, Set<Promise<void>>>();

  async run(repository: string, removal: () => Promise<void>): Promise<void> {
    const mine = this.all.get(repository) ?? new Set();
    this.all.set(repository, mine);
    const running = removal();
    mine.add(running);
    try {
      await running;
    } finally {
      mine.delete(running);
      if (mine.size === 0) this.all.delete(repository);
    }
  }

  /** Resolves once those have ended, well or badly, that are under way at this moment. */
  async ended(repository: string): Promise<void> {
    await Promise.allSettled([...(this.all.get(repository) ?? [])]);
  }
}

/** Work that is done one after another, in the order in which it was given. */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  /** Does it once all that was given before is through, however that ended: what fails, fails for its own giver. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.last.then(work, work);
    this.last = mine;
    return mine;
  }

  /** When all that has been given by now is through, however it ended. */
  async through(): Promise<void> {
    await Promise.allSettled([this.last]);
  }
}

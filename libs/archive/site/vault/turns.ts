import { VaultAnswerError } from './vault.errors.js';

/** Lets so many do something at once, has so many wait for their turn, and sends everybody else away. */
export class Turns {
  private taken = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly atOnce: number,
    private readonly next: number,
  ) {}

  /** @throws VaultAnswerError 503, which restic tries again, and what `act` throws */
  async take<T>(act: () => Promise<T>): Promise<T> {
    if (this.taken >= this.atOnce) {
      if (this.waiting.length >= this.next) throw busy();
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    } else this.taken += 1;
    try {
      return await act();
    } finally {
      // The turn is handed on, so nobody who comes meanwhile takes it.
      const heir = this.waiting.shift();
      if (heir) heir();
      else this.taken -= 1;
    }
  }
}

const busy = (): VaultAnswerError =>
  new VaultAnswerError(503, 'vault.busy', 'Too many ask at once. Try again.', { 'retry-after': '5' });

import { waitFor } from '#libs/platform/clock';
import type { PostgresClient } from '#libs/platform/postgres';
import type { TestAgency } from './agency.js';

/** Writes one row after another into `permit` (note), and keeps which of them the server has acknowledged. */
export class Clerk {
  readonly acknowledged: string[] = [];
  private working: Promise<void> | undefined;
  private stopping = false;

  private constructor(
    private readonly client: PostgresClient,
    private readonly name: string,
  ) {
    client.on('error', () => undefined);
  }

  /** Begins at once, and goes on until the server is gone or {@link stop}. */
  static async at(agency: TestAgency, name: string): Promise<Clerk> {
    const clerk = new Clerk(await agency.connect(), name);
    clerk.working = clerk.work();
    return clerk;
  }

  /** Waits until so many more have been acknowledged than now. */
  async more(count: number, timeoutMs = 30_000): Promise<void> {
    const wanted = this.acknowledged.length + count;
    await waitFor(`${count} acknowledgements`, () => this.acknowledged.length >= wanted, { timeoutMs });
  }

  /** To be called while the server acknowledges, or is gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    await this.working;
    await this.client.end();
  }

  private async work(): Promise<void> {
    for (let number = 1; !this.stopping; number++) {
      const note = `${this.name} ${number}`;
      try {
        await this.client.query('INSERT INTO permit (note) VALUES ($1)', [note]);
      } catch {
        // The server is gone: what it has not acknowledged does not count.
        return;
      }
      this.acknowledged.push(note);
    }
  }
}

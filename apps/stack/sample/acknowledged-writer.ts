import { setTimeout as delay } from 'node:timers/promises';
import { connect, type PostgresClient } from '#libs/platform/postgres';
import { errorText } from '#libs/platform/errors';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface WriterOptions {
  /** Tried in turn, as libpq does with several hosts; only a server that accepts writes counts. */
  readonly addresses: readonly Address[];
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** Names its rows, so that several writers can share the table. */
  readonly writer: number;
}

export interface Acknowledgement {
  readonly id: number;
  /** Milliseconds of performance.now() at which COMMIT returned. */
  readonly at: number;
  readonly port: number;
}

export const LEDGER_TABLE = `CREATE TABLE IF NOT EXISTS acknowledged_write (
  writer integer, id bigint, at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (writer, id))`;

/** An answer that takes longer means a server that hangs: the client gives up and tries the other address. */
const PATIENCE_MS = 5_000;
const CONNECT_MS = 2_000;

/**
 * A client that writes one row after the other and notes each that was acknowledged: COMMIT returned, without a
 * warning, at `synchronous_commit = on`. It behaves like libpq with `target_session_attrs=read-write
 * connect_timeout=2 tcp_user_timeout=5000`: when its server goes, it goes on at whichever address takes writes.
 *
 * It never writes an id twice: one whose answer was lost stays unknown, neither acknowledged nor refused.
 */
export class AcknowledgedWriter {
  readonly acknowledged: Acknowledgement[] = [];
  /** Ids whose COMMIT was sent and never answered: the database may have them or not. */
  readonly unknown: number[] = [];
  /** By port: what it met there last. */
  private readonly met = new Map<number, string>();
  private next = 1;
  private stopping = false;
  private preferred = 0;
  private running: Promise<void> | undefined;

  constructor(private readonly options: WriterOptions) {}

  /** For whoever waits in vain. */
  get difficulties(): string {
    return [...this.met].map(([port, what]) => `port ${port}: ${what}`).join('; ');
  }

  get number(): number {
    return this.options.writer;
  }

  start(): void {
    this.running = this.run();
  }

  /** Stops after the row in flight; waits for it at most as long as a row may take. */
  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopping) {
      const session = await this.connectSomewhere();
      if (!session) {
        await delay(20);
        continue;
      }
      await this.writeUntilItBreaks(session.client, session.port);
      // A frozen server never answers the goodbye either.
      void session.client.end().catch((error: unknown) => this.met.set(session.port, errorText(error)));
    }
  }

  private async connectSomewhere(): Promise<{ client: PostgresClient; port: number } | undefined> {
    const { addresses } = this.options;
    for (let turn = 0; turn < addresses.length && !this.stopping; turn++) {
      const index = (this.preferred + turn) % addresses.length;
      const address = addresses[index] as Address;
      try {
        const client = await connect({
          ...address,
          user: this.options.user,
          password: this.options.password,
          database: this.options.database,
          applicationName: `permits desk ${this.options.writer}`,
          connectionTimeoutMs: CONNECT_MS,
        });
        const { rows } = await inTime(
          client.query<{ readonly: string }>(`SELECT current_setting('transaction_read_only') AS readonly`),
          CONNECT_MS,
        );
        if (rows[0]?.readonly === 'off') {
          this.preferred = index;
          return { client, port: address.port };
        }
        this.met.set(address.port, 'takes no writes');
        await client.end();
      } catch (error) {
        this.met.set(address.port, errorText(error));
      }
    }
    this.preferred += 1;
    return undefined;
  }

  private async writeUntilItBreaks(client: PostgresClient, port: number): Promise<void> {
    let warned = false;
    client.on('notice', (notice) => {
      if (notice.severity === 'WARNING') warned = true;
    });
    while (!this.stopping) {
      const id = this.next++;
      try {
        await inTime(
          client.query('INSERT INTO acknowledged_write (writer, id) VALUES ($1, $2)', [this.options.writer, id]),
          PATIENCE_MS,
        );
        if (warned) throw new Error('the commit came with a warning: it counts as not acknowledged');
        this.acknowledged.push({ id, at: performance.now(), port });
      } catch (error) {
        this.met.set(port, errorText(error));
        this.unknown.push(id);
        return;
      }
    }
  }
}

async function inTime<T>(work: Promise<T>, milliseconds: number): Promise<T> {
  const stopped = new AbortController();
  try {
    return await Promise.race([
      work,
      delay(milliseconds, undefined, { signal: stopped.signal }).then(() => {
        throw new Error(`no answer within ${milliseconds} ms`);
      }),
    ]);
  } finally {
    stopped.abort();
    // Whatever loses the race ends later, when the connection is closed; nobody waits for it.
    work.catch(() => undefined);
  }
}

/** The acknowledged rows that the database does not have: the invariant says none. */
export async function findLost(client: PostgresClient, writers: readonly AcknowledgedWriter[]): Promise<string[]> {
  const lost: string[] = [];
  for (const { number, acknowledged } of writers) {
    const { rows } = await client.query<{ id: string }>('SELECT id FROM acknowledged_write WHERE writer = $1', [
      number,
    ]);
    const present = new Set(rows.map((row) => Number(row.id)));
    lost.push(...acknowledged.filter(({ id }) => !present.has(id)).map(({ id }) => `${number}/${id}`));
  }
  return lost;
}

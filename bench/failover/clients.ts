import { type Address, AcknowledgedWriter, LEDGER_TABLE } from '../../apps/stack/sample/acknowledged-writer.js';
import { waitFor } from '#libs/platform/clock';
import { type PostgresClient, quoteIdentifier, quoteLiteral, runTool } from '#libs/platform/postgres';
import path from 'node:path';
import { PGBENCH_SCALE } from './settings.js';

/** As whom the clients sign in, and where their table lies. */
export interface ClientAccount {
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** The same clients for every side: two, as a busy counter has, so that the wait between two tries weighs less. */
const WRITERS = 2;
/** So many writes by each client show that the server under test serves, and warm it. */
const WARM_WRITES = 50;
const WARM_TIMEOUT_MS = 60_000;

/** Clients that know both addresses and write wherever they may: what a failover is felt by. */
export class Clients {
  private static made = 0;
  private readonly writers: readonly AcknowledgedWriter[];

  constructor(account: ClientAccount, addresses: readonly Address[]) {
    // Rows are numbered by writer: one that had a number of an earlier round would meet its rows.
    this.writers = Array.from(
      { length: WRITERS },
      () => new AcknowledgedWriter({ ...account, addresses, writer: ++Clients.made }),
    );
  }

  /** Starts them and waits until each has written for a while at `port`. */
  async begin(port: number): Promise<void> {
    for (const writer of this.writers) writer.start();
    const warm = () => this.writers.every((writer) => this.written(writer, port, 0) >= WARM_WRITES);
    try {
      await waitFor('the clients to write', warm, { timeoutMs: WARM_TIMEOUT_MS, everyMs: 20 });
    } catch (error) {
      const said = this.writers.map((writer) => writer.difficulties).join('; ');
      throw new Error(`the clients could not write: ${said}`, { cause: error });
    }
  }

  /** When, by performance.now(), the first write at `port` was acknowledged after `since`. Waits for it. */
  async firstWrite(port: number, since: number, timeoutMs: number): Promise<number> {
    const first = () =>
      this.writers
        .map((writer) => writer.acknowledged.find((write) => write.port === port && write.at > since)?.at)
        .filter((at) => at !== undefined)
        .sort((a, b) => a - b)[0];
    return waitFor('the first write after the failover', first, { timeoutMs, everyMs: 10 });
  }

  async end(): Promise<void> {
    await Promise.all(this.writers.map((writer) => writer.stop()));
  }

  private written(writer: AcknowledgedWriter, port: number, since: number): number {
    return writer.acknowledged.filter((write) => write.port === port && write.at > since).length;
  }
}

/** What the sample agency's database has: the clients' role and table, and pgbench's tables. */
export async function fillDatabase(
  admin: PostgresClient,
  account: ClientAccount,
  server: { binDirectory: string; port: number; adminPassword: string },
): Promise<void> {
  const user = quoteIdentifier(account.user);
  await admin.query(`CREATE ROLE ${user} LOGIN PASSWORD ${quoteLiteral(account.password)}`);
  await admin.query(LEDGER_TABLE);
  await admin.query(`GRANT SELECT, INSERT ON acknowledged_write TO ${user}`);
  await runTool(
    path.join(server.binDirectory, 'pgbench'),
    [
      '-i',
      '-q',
      '-s',
      String(PGBENCH_SCALE),
      '-h',
      '127.0.0.1',
      '-p',
      String(server.port),
      '-U',
      'postgres',
      account.database,
    ],
    { env: { PGPASSWORD: server.adminPassword }, timeoutMs: 120_000 },
  );
}

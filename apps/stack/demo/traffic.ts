import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { childEnvironment } from '#libs/platform/config';
import { waitFor } from '#libs/platform/clock';
import { AcknowledgedWriter, type Address } from '../sample/acknowledged-writer.js';
import { type AgencyMachine, CLERK, DATABASE } from '../sample/agency-machine.js';

/**
 * The permits desk at work: writers that note every acknowledged row, and pgbench beside them. All of them know both
 * addresses, production's and the front door's, and go on by themselves at whichever takes writes.
 */
export class Traffic {
  readonly writers: readonly AcknowledgedWriter[];
  /** Completed runs of pgbench's transaction script are not counted; that it goes on is what shows. */
  pgbenchStarts = 0;
  private pgbench: ChildProcess | undefined;
  private stopping = false;
  private load: Promise<void> | undefined;

  constructor(
    private readonly machine: AgencyMachine,
    readonly addresses: readonly Address[],
    writers = 2,
  ) {
    this.writers = Array.from({ length: writers }, (_, index) => {
      return new AcknowledgedWriter({
        addresses,
        user: CLERK,
        password: machine.record.clerkPassword,
        database: DATABASE,
        writer: index + 1,
      });
    });
  }

  start(): void {
    for (const writer of this.writers) writer.start();
    this.load = this.runPgbench();
  }

  /** Stock libpq with several hosts, started again whenever its server goes. */
  private async runPgbench(): Promise<void> {
    const program = path.join(this.machine.server.installation.binDirectory, 'pgbench');
    const hosts = this.addresses.map(({ host }) => host).join(',');
    const ports = this.addresses.map(({ port }) => port).join(',');
    const target =
      `host=${hosts} port=${ports} user=${CLERK} dbname=${DATABASE} ` +
      'target_session_attrs=read-write connect_timeout=2 tcp_user_timeout=5000';
    while (!this.stopping) {
      const child = spawn(program, ['-n', '-N', '-c', '2', '-T', '600', '-R', '50', target], {
        env: childEnvironment({ PGPASSWORD: this.machine.record.clerkPassword }),
        stdio: 'ignore',
      });
      this.pgbench = child;
      this.pgbenchStarts += 1;
      await once(child, 'exit');
      if (!this.stopping) await delay(100);
    }
  }

  get acknowledged(): number {
    return this.writers.reduce((sum, writer) => sum + writer.acknowledged.length, 0);
  }

  /** Waits until each writer has had so many more rows acknowledged. */
  async more(rows: number, timeoutMs = 60_000): Promise<void> {
    const goals = this.writers.map((writer) => writer.acknowledged.length + rows);
    const done = (): boolean =>
      this.writers.every((writer, index) => {
        if (writer.acknowledged.length >= (goals[index] ?? 0)) return true;
        throw new Error(`writer ${writer.number}: ${writer.difficulties}`);
      });
    await waitFor(`${rows} more acknowledged rows of each writer`, done, { timeoutMs, everyMs: 20 });
  }

  /** When the first row was acknowledged at this port after that moment, in performance.now() milliseconds. */
  firstAcknowledgedAt(port: number, after: number): number | undefined {
    const times = this.writers.flatMap((writer) =>
      writer.acknowledged.filter((row) => row.port === port && row.at >= after).map((row) => row.at),
    );
    return times.length === 0 ? undefined : Math.min(...times);
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.pgbench?.kill('SIGTERM');
    await Promise.all([...this.writers.map((writer) => writer.stop()), this.load]);
  }
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type AgencyMachine, CLERK, DATABASE } from '../../apps/stack/sample/agency-machine.js';
import { buildMachine, type ProtectedAgency, protectAgency } from '../../apps/stack/sample/protected-agency.js';
import { Stack } from '../../apps/stack/stack.js';
import { Clients } from './clients.js';
import { PGBENCH_SCALE } from './settings.js';
import type { FailoverSide } from './side.js';

/** After so many failovers a new installation: each leaves two warm servers running, which would weigh on the rest. */
const ROUNDS_PER_INSTALLATION = 4;
const FIRST_WRITE_TIMEOUT_MS = 60_000;

/**
 * Mainstay as `npm start` runs it: an agency signs up, its server is protected in strict mode at both sites and armed,
 * server and agent are killed with -9, and the failover is declared by REST with an API key. The declaration's own way
 * counts too: api, worker, order to the site, every step of the run, and the front door.
 */
export class Mainstay implements FailoverSide {
  readonly name = 'Mainstay';
  private home = '';
  private stack: Promise<Stack> | undefined;
  private machine: AgencyMachine | undefined;
  private rounds = 0;

  async prepare(): Promise<void> {
    this.home = await mkdtemp(path.join(tmpdir(), 'mainstay-bench-'));
    await (this.stack = Stack.start({ home: this.home, logLevel: 'warn' }));
  }

  async round(): Promise<number> {
    if (this.rounds > 0 && this.rounds % ROUNDS_PER_INSTALLATION === 0) {
      await this.close();
      await this.prepare();
    }
    const stack = await this.stack;
    if (!stack) throw new Error('prepare() comes before round()');
    const folder = `town-${++this.rounds}`;
    const machine = (this.machine = await buildMachine(stack, folder, PGBENCH_SCALE));
    const email = `it@${folder}.example`;
    const town = { name: `Town of Round ${this.rounds}`, contactName: 'Ines Calloway', email };
    const agency = await protectAgency(stack, machine, { town, folder, tell: () => undefined });
    try {
      return await this.loseAndDeclare(agency);
    } finally {
      await machine.destroy();
    }
  }

  async close(): Promise<void> {
    await this.machine?.destroy();
    // One that is still starting is awaited, or its processes would be left; one that did not start has stopped them.
    await this.stack?.then(
      (stack) => stack.stop(),
      () => undefined,
    );
    this.machine = this.stack = undefined;
    if (this.home !== '') await rm(this.home, { recursive: true, force: true });
    this.home = '';
  }

  private async loseAndDeclare({ machine, client, workloadId, frontDoor }: ProtectedAgency): Promise<number> {
    const account = { user: CLERK, password: machine.record.clerkPassword, database: DATABASE };
    const clients = new Clients(account, [{ host: '127.0.0.1', port: machine.port }, frontDoor]);
    try {
      await clients.begin(machine.port);
      await machine.destroy();
      const declared = performance.now();
      await client.declare(workloadId, { reason: 'The town hall is flooded.' });
      const first = await clients.firstWrite(frontDoor.port, declared, FIRST_WRITE_TIMEOUT_MS);
      return (first - declared) / 1000;
    } finally {
      await clients.end();
    }
  }
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort } from '#libs/platform/postgres';
import type { SiteKey } from '../../apps/stack/installation.js';
import type { AgencyMachine } from '../../apps/stack/sample/agency-machine.js';
import { buildMachine, type ProtectedAgency, protectAgency } from '../../apps/stack/sample/protected-agency.js';
import { Stack, type StackOptions } from '../../apps/stack/stack.js';
import { ChaosProxy } from './chaos-proxy.js';

/** A whole Mainstay on this machine, with a line that can be made bad before each site's gateway. */
export class StackWorld {
  readonly said: string[] = [];
  private readonly machines: AgencyMachine[] = [];

  private constructor(
    readonly home: string,
    readonly lines: Readonly<Record<SiteKey, ChaosProxy>>,
    private running: Stack,
    private readonly tell: (line: string) => void,
  ) {}

  static async start(
    tell: (line: string) => void = () => undefined,
    options: Pick<StackOptions, 'otlpEndpoint'> = {},
  ): Promise<StackWorld> {
    const home = await mkdtemp(path.join(tmpdir(), 'mainstay-world-'));
    const lines: Partial<Record<SiteKey, ChaosProxy>> = {};
    const stack = await Stack.start({
      ...options,
      home,
      apiPort: await freePort(),
      tell,
      advertiseGateway: async (site, port) => {
        const line = new ChaosProxy({ host: '127.0.0.1', port });
        lines[site] = line;
        return line.listen();
      },
    });
    const { metro, regional } = lines;
    if (!metro || !regional) throw new Error('no line stands before a gateway');
    return new StackWorld(home, { metro, regional }, stack, tell);
  }

  get stack(): Stack {
    return this.running;
  }

  /** A new agency, from sign-up to armed at both sites. */
  async agency(folder: string, mode: 'strict' | 'available' = 'strict'): Promise<ProtectedAgency> {
    const machine = await buildMachine(this.running, folder, 1);
    this.machines.push(machine);
    const town = { name: `Township ${folder}`, contactName: 'Pat Lee', email: `it@${folder}.example` };
    return protectAgency(this.running, machine, { town, folder, mode, tell: this.tell });
  }

  /** Ends everything; the folder with logs and databases is kept when `keep` says so. */
  async close(keep = false): Promise<void> {
    for (const line of Object.values(this.lines)) line.resume();
    for (const machine of this.machines) await machine.stop();
    await this.running.stop();
    for (const line of Object.values(this.lines)) await line.close();
    if (keep) this.tell(`logs and databases are kept in ${this.home}`);
    else await rm(this.home, { recursive: true, force: true });
  }
}

import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { beginWorkCommand, forgetWorkCommand, lookWorkCommand, type RepositoryAccess } from '#contracts/archive';
import { ArchiveCommands } from '#libs/archive/agent';
import { waitFor } from '#libs/platform/clock';
import { createLogger } from '#libs/platform/telemetry';
import { agentConfiguration, StateDirectory } from '#libs/sites/agent';

const WORKLOAD = 'share';
const LONGEST = { timeoutMs: 3_600_000, everyMs: 20 };

/** The agent's own archive code, given the commands that a site gives it; restic is its child, as ever. */
export class BenchAgent {
  private readonly workloadId = randomUUID();
  private previous: string[] = [];

  private constructor(
    private readonly commands: ArchiveCommands,
    private readonly access: RepositoryAccess,
  ) {}

  static async start(home: string, folder: string, access: RepositoryAccess): Promise<BenchAgent> {
    const state = new StateDirectory(path.join(home, 'agent'));
    await mkdir(state.path, { recursive: true });
    const configuration = agentConfiguration.parse({ workloads: [{ name: WORKLOAD, kind: 'files', paths: [folder] }] });
    const log = createLogger({ name: 'bench', level: 'silent' });
    const commands = new ArchiveCommands({ configuration, state, log });
    await commands.start();
    return new BenchAgent(commands, access);
  }

  /** @returns the seconds from the command to its result. */
  async backup(): Promise<number> {
    const ids = { workloadId: this.workloadId, workloadName: WORKLOAD, workId: randomUUID() };
    const began = performance.now();
    const limits = { bandwidthBytesPerSecond: null };
    const { previous } = this;
    await this.ask(beginWorkCommand.path, {
      ...ids,
      access: this.access,
      work: { kind: 'backup', source: 'files', excludes: [], limits, previous, tags: [`run:${ids.workId}`] },
    });
    const look = async () => lookWorkCommand.output.parse(await this.ask(lookWorkCommand.path, ids)).result;
    const result = await waitFor('the backup to end', look, LONGEST);
    const seconds = (performance.now() - began) / 1_000;
    if (result.state !== 'completed')
      throw new Error(`the backup is ${result.state}: ${JSON.stringify(result.failure)}`);
    await this.ask(forgetWorkCommand.path, ids);
    this.previous = result.snapshots.map(({ id }) => id);
    return seconds;
  }

  close(): Promise<void> {
    return this.commands.close();
  }

  private async ask(command: string, body: object): Promise<unknown> {
    return (await this.commands.carryOut(command, body, new AbortController().signal)).json;
  }
}

import {
  archiveCheckCommand,
  beginWorkCommand,
  cancelWorkCommand,
  forgetWorkCommand,
  handExitCommand,
  listTreeCommand,
  lookWorkCommand,
  type ArchiveCommand,
} from '#contracts/archive';
import type { AgentConfiguration, AgentWorkload, StateDirectory } from '#libs/sites/agent';
import type { Logger } from '#libs/platform/telemetry';
import { z } from 'zod';
import { checkArchive } from './archive-check.js';
import { ArchiveCommandInvalidError, ArchiveCommandUnknownError, ArchiveNotListedError } from './errors.js';
import { keepExit } from './exit.js';
import { listTree } from './tree.js';
import type { ArchiveStatus } from './work/archive-status.js';
import { WorkDesk } from './work/work-desk.js';

export interface ArchiveCommandsParts {
  readonly configuration: AgentConfiguration;
  readonly state: StateDirectory;
  readonly log: Logger;
}

type Entry = (body: unknown, signal: AbortSignal) => Promise<unknown>;

const OK = { ok: true } as const;

/** Takes a site's command about an archive, finds its workload among those that agent.json lists, and carries it out. */
export class ArchiveCommands {
  private readonly desk: WorkDesk;
  private readonly entries: ReadonlyMap<string, Entry>;
  private readonly ready = Promise.withResolvers<void>();

  constructor(private readonly parts: ArchiveCommandsParts) {
    const { state, configuration, log } = parts;
    // Whoever gives a command hears of it.
    this.ready.promise.catch(() => undefined);
    const { restic, restoreTo } = configuration;
    this.desk = new WorkDesk({ state, restic, restoreTo, log });
    this.entries = new Map([
      this.entry(archiveCheckCommand, (workload, { source, keyMode }) =>
        checkArchive({ workload, source, keyMode, restic, state }),
      ),
      this.entry(beginWorkCommand, async (workload, { workId, workloadId, access, work }) => {
        await this.desk.begin({ workId, workloadId, workload, access, work });
        return OK;
      }),
      this.entry(lookWorkCommand, (_, { workId, workloadId }) => this.desk.look(workId, workloadId)),
      this.entry(cancelWorkCommand, async (_, { workId, workloadId }) => {
        this.desk.cancel(workId, workloadId);
        return OK;
      }),
      this.entry(forgetWorkCommand, async (_, { workId, workloadId }) => {
        await this.desk.forget(workId, workloadId);
        return OK;
      }),
      this.entry(listTreeCommand, (workload, input, signal) => listTree({ workload, restic, state }, input, signal)),
      this.entry(handExitCommand, async (workload, input) => {
        await keepExit(state, workload.name, input);
        return OK;
      }),
    ]);
  }

  /** Once, at the agent's start: commands wait until what a dead agent has left is ended. Never rejects. */
  async start(): Promise<void> {
    await this.desk.start().then(this.ready.resolve, (error: unknown) => {
      this.parts.log.error({ err: error }, 'the archive could not be begun');
      this.ready.reject(error);
    });
  }

  close(): Promise<void> {
    return this.desk.close();
  }

  status(): ArchiveStatus {
    return this.desk.status();
  }

  /** @throws ArchiveCommandUnknownError, ArchiveCommandInvalidError, ArchiveNotListedError, and what the command throws */
  async carryOut(path: string, body: unknown, signal: AbortSignal): Promise<{ readonly json: unknown }> {
    const entry = this.entries.get(path);
    if (!entry) throw new ArchiveCommandUnknownError(path);
    await this.ready.promise;
    return { json: await entry(body, signal) };
  }

  private entry<I extends { workloadName: string }, O>(
    command: ArchiveCommand<I, O>,
    carry: (workload: AgentWorkload, input: I, signal: AbortSignal) => Promise<O>,
  ): [string, Entry] {
    const entry: Entry = async (body, signal) => {
      const parsed = command.input.safeParse(body);
      if (!parsed.success) throw new ArchiveCommandInvalidError(command.path, z.prettifyError(parsed.error));
      const { workloadName } = parsed.data;
      const workload = this.parts.configuration.workloads.find(({ name }) => name === workloadName);
      if (!workload) throw new ArchiveNotListedError(workloadName);
      return carry(workload, parsed.data, signal);
    };
    return [command.path, entry];
  }
}

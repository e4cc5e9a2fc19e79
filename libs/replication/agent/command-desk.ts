import { Readable } from 'node:stream';
import { z } from 'zod';
import {
  agentBackup,
  armCommand,
  checkpointCommand,
  disarmCommand,
  preflightCommand,
  prepareCommand,
  releaseCommand,
  type AgentCommand,
} from '#contracts/replication';
import { DomainError } from '#libs/platform/errors';
import { WorkloadNotListedError } from './errors.js';
import type { WorkloadDesk } from './workload-desk.js';

/** A command that this version of the agent does not have, or one whose input does not fit. */
export class CommandUnknownError extends DomainError {
  constructor(path: string) {
    super('not-found', 'agent.command-unknown', `This agent does not know the command ${path}. Update it.`);
  }
}
export class CommandInvalidError extends DomainError {
  constructor(path: string, faults: string) {
    super('invalid', 'agent.command-invalid', `The agent cannot read the command ${path}: ${faults}`);
  }
}

/** JSON, or bytes as they come. */
export type CommandAnswer = { readonly json: unknown } | { readonly bytes: Readable };

type Carry = (desk: WorkloadDesk, body: never, signal: AbortSignal) => Promise<CommandAnswer>;
interface Entry {
  readonly input: z.ZodType<{ workloadName: string }>;
  readonly carry: Carry;
}

function entry<I extends { workloadName: string }, O>(
  command: AgentCommand<I, O>,
  carry: (desk: WorkloadDesk, input: I, signal: AbortSignal) => Promise<O>,
): [string, Entry] {
  const answered: Carry = async (desk, input, signal) => ({ json: await carry(desk, input as I, signal) });
  return [command.path, { input: command.input, carry: answered }];
}

const OK = { ok: true } as const;

const ENTRIES = new Map<string, Entry>([
  entry(preflightCommand, (desk, { supportedMajors, expectedNames }) => desk.preflight(supportedMajors, expectedNames)),
  entry(prepareCommand, async (desk, { role, names, freshSlot }) => {
    const prepared = await desk.inTurn((commands) => commands.prepare(role, names, freshSlot));
    await desk.noteBaseline(prepared.server.tablespaces.map(({ location }) => location));
    return prepared;
  }),
  entry(armCommand, async (desk, { names }) => {
    await desk.inTurn((commands) => commands.arm(names));
    return OK;
  }),
  entry(disarmCommand, async (desk, { names }) => {
    await desk.inTurn((commands) => commands.disarm(names));
    return OK;
  }),
  entry(checkpointCommand, async (desk) => ({ lsn: await desk.inTurn((commands) => commands.checkpoint()) })),
  entry(releaseCommand, async (desk, { role, names }) => {
    await desk.inTurn((commands) => commands.release(role, names));
    return OK;
  }),
  entry(agentBackup.begin, (desk, { request }) => desk.backup.begin(request)),
  entry(agentBackup.manifest, (desk, { request }) => desk.backup.manifest(request)),
  entry(agentBackup.hashes, (desk, { request }) => desk.backup.hashes(request)),
  entry(agentBackup.finish, (desk, { request }) => desk.backup.finish(request)),
  entry(agentBackup.end, async (desk, { request }) => {
    await desk.backup.end(request);
    return OK;
  }),
  [
    agentBackup.read.path,
    {
      input: agentBackup.read.input,
      carry: async (desk, input: z.infer<typeof agentBackup.read.input>, signal) => ({
        bytes: Readable.from(await desk.backup.read(input.request, signal), { objectMode: false }),
      }),
    } as Entry,
  ],
]);

/** Takes a site's command, finds its workload among those that the configuration lists, and carries it out. */
export class CommandDesk {
  constructor(private readonly desks: ReadonlyMap<string, WorkloadDesk>) {}

  /** @throws CommandUnknownError, CommandInvalidError, WorkloadNotListedError, and what the command throws. */
  async carryOut(path: string, body: unknown, signal: AbortSignal): Promise<CommandAnswer> {
    const known = ENTRIES.get(path);
    if (!known) throw new CommandUnknownError(path);
    const parsed = known.input.safeParse(body);
    if (!parsed.success) throw new CommandInvalidError(path, z.prettifyError(parsed.error));
    const desk = this.desks.get(parsed.data.workloadName);
    if (!desk) throw new WorkloadNotListedError(parsed.data.workloadName);
    return known.carry(desk, parsed.data as never, signal);
  }
}

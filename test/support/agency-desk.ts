import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { Readable } from 'node:stream';
import { fenceCommand, type PulseRequest, type PulseWorkload } from '#contracts/replication';
import { type Clock, SystemClock } from '#libs/platform/clock';
import { DomainError } from '#libs/platform/errors';
import {
  baselineRecord,
  CommandDesk,
  DegradeReceiver,
  grantsRecord,
  KeptConnection,
  madeRecord,
  type OfferedGrant,
  ProtectedWorkload,
  protectionRecord,
  settingsRecord,
  WorkloadDesk,
} from '#libs/replication/agent';
import { DurableValue } from '#libs/sites/agent';
import {
  AgentCommands,
  type AgentCallOptions,
  AgentRefusedError,
  AgentUnreachableError,
  type SiteCommand,
} from '#libs/sites/site';
import type { TestAgency } from './agency.js';

/** The agent's own parts around a test's server, called directly instead of through the tunnel. */
export class AgencyDesk {
  readonly agentId = randomUUID();
  readonly commands: DirectAgentCommands;
  private readonly desk: WorkloadDesk;
  private watch: ProtectedWorkload;
  private ticking: NodeJS.Timeout | undefined;

  private constructor(
    readonly agency: TestAgency,
    private readonly clock: Clock,
  ) {
    const file = (name: string) => this.file(name);
    const protection = new DurableValue(file('protection.json'), protectionRecord);
    this.desk = new WorkloadDesk({
      workload: agency.workload,
      settings: new DurableValue(file('settings.json'), settingsRecord),
      baseline: new DurableValue(file('baseline.json'), baselineRecord),
      made: new DurableValue(file('made.json'), madeRecord),
      protection,
    });
    this.watch = this.tunnel();
    this.commands = new DirectAgentCommands(new CommandDesk(new Map([[this.desk.name, this.desk]])), agency);
  }

  /** @param clock of the agency's machine */
  static async open(agency: TestAgency, clock: Clock = new SystemClock()): Promise<AgencyDesk> {
    const desk = new AgencyDesk(agency, clock);
    await desk.watch.begin();
    // As the tunnel's process does, pulses or none.
    desk.ticking = setInterval(() => void (desk.alive && desk.watch.tick()), 1_000);
    return desk;
  }

  private file(name: string): string {
    return path.join(this.agency.home, 'agent', name);
  }

  /** The tunnel's part, as its process has it in memory. */
  private tunnel(): ProtectedWorkload {
    const { agency, clock } = this;
    return new ProtectedWorkload({
      workload: agency.workload,
      connection: new KeptConnection(agency.workload),
      receiver: (lease) =>
        new DegradeReceiver({ workload: agency.workload, lease, scratch: path.join(agency.home, 'lease') }, clock),
      record: new DurableValue(this.file('protection.json'), protectionRecord),
      grants: new DurableValue(this.file('grants.json'), grantsRecord),
      fencing: { observe: async () => undefined, report: () => ({ fenced: null, divergence: null, alarms: [] }) },
      clock,
    });
  }

  /** The tunnel's process dies and another is started, which knows only what is on disk and in the server. */
  async restart(whileDown: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    this.alive = false;
    await this.watch.close();
    await whileDown();
    this.watch = this.tunnel();
    await this.watch.begin();
    this.alive = true;
  }

  /** What the control plane serves to the agent itself. */
  offer(grant: OfferedGrant | null): void {
    this.watch.setGrant(grant);
  }

  get alive(): boolean {
    return this.commands.alive;
  }
  set alive(alive: boolean) {
    this.commands.alive = alive;
  }

  /** @throws when the agent is dead */
  async pulse(request: PulseRequest): Promise<PulseWorkload[]> {
    if (!this.alive) throw new AgentUnreachableError();
    return Promise.all(request.workloads.map((entry) => this.watch.pulse(entry)));
  }

  async close(): Promise<void> {
    clearInterval(this.ticking);
    await this.watch.close();
    await this.desk.close();
  }
}

/** What sites ask of the agent, as the tunnel would carry it. Stopping the server is the test server's own. */
export class DirectAgentCommands extends AgentCommands {
  alive = true;
  readonly called: string[] = [];

  constructor(
    private readonly desk: CommandDesk,
    private readonly agency: TestAgency,
  ) {
    super();
  }

  async call<I, O>(_agentId: string, command: SiteCommand<I, O>, input: I, options: AgentCallOptions): Promise<O> {
    if (!this.alive) throw new AgentUnreachableError();
    this.called.push(command.path);
    if (command.path === fenceCommand.path) return command.output.parse(await this.fence());
    const signal = options.signal ?? AbortSignal.timeout(options.timeoutMs);
    const answer = await this.refusing(() => this.desk.carryOut(command.path, command.input.parse(input), signal));
    return command.output.parse('json' in answer ? answer.json : undefined);
  }

  async stream(_agentId: string, path_: string, json: unknown): Promise<Readable> {
    if (!this.alive) throw new AgentUnreachableError();
    const answer = await this.refusing(() => this.desk.carryOut(path_, json, new AbortController().signal));
    if (!('bytes' in answer)) throw new Error(`${path_} answers no bytes`);
    return answer.bytes;
  }

  private async fence(): Promise<{ stopped: boolean; lsn: string; evidence: string }> {
    await this.agency.server.stop('fast');
    const { checkpointLsn, state } = await this.agency.server.controlData();
    return { stopped: true, lsn: checkpointLsn, evidence: state };
  }

  private async refusing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof DomainError) throw new AgentRefusedError(error.code, error.message, { cause: error });
      throw error;
    }
  }
}

import { createHash, randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { pause } from '#libs/platform/clock';
import {
  fenceCommand,
  pulseAnswer,
  pulseCommand,
  releaseCommand,
  type PulseAnswer,
  type PulseRequest,
} from '#contracts/replication';
import { alarm } from '#contracts/replication';
import { agentAssignment } from '#contracts/sites';
import { TunnelDialer, WorkloadRefusedError, type LinkRequest, type LinkResponse } from '#libs/link';
import type { Clock } from '#libs/platform/clock';
import type { Logger } from '#libs/platform/telemetry';
import { CommandInvalidError, WorkloadNotListedError, type PulseEntry } from '#libs/replication/agent';
import {
  postgresWorkloads,
  readConfiguration,
  readEnrolment,
  servedGrants,
  type AgentConfiguration,
  type Enrolment,
  type StateDirectory,
} from '#libs/sites/agent';
import { z } from 'zod';
import type { TunnelStatus } from './agent-status.js';
import { DivergenceTurns } from './divergence-turns.js';
import { DoorClosedError, knock, openDoor, type DoorAnswer, type DoorRequest } from './local-door.js';
import { askForAssignment } from './keep-assignment.js';
import { SiteRights } from './site-rights.js';
import { TunnelWorkload } from './tunnel-workload.js';
import { notAssigned, notListed } from './unserved-pulse.js';
import { WorkloadStreams } from './workload-streams.js';

const TICK_MS = 1_000;
/** A question of the gate waits so long for the next pulse. */
const GATE_WAIT_MS = 2_500;

/** What makes a tunnel this one and not its successor's. */
export function tunnelFingerprint(version: string, configuration: AgentConfiguration, agentId: string): string {
  // Not what is archived of a workload: production waits while a tunnel is replaced.
  const names = configuration.workloads.map(({ name }) => name);
  const parts = [version, agentId, postgresWorkloads(configuration), names];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

export interface TunnelOptions {
  readonly directory: StateDirectory;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const assigned = agentAssignment.pick({ sites: true, workloads: true, preflights: true, archives: true });
const observedAlarms = z.record(z.string(), z.array(alarm));

/**
 * The process that production waits on: the links, the pulse, the degrade lease and the fence. It lives on when `run`
 * dies, since strict production would stand still without it; the next `run` finds it by its door and takes it over, or
 * replaces it when its configuration has changed or it hangs. All other commands it passes on to `run`.
 */
export class Tunnel {
  private readonly instanceId = randomUUID();
  private readonly startedAt = new Date().toISOString();
  private readonly stopping = new AbortController();
  private readonly streams = new WorkloadStreams();
  private readonly turns = new DivergenceTurns();
  private readonly rights: SiteRights;
  private dialer: TunnelDialer | undefined;

  private constructor(
    private readonly options: TunnelOptions,
    private readonly enrolment: Enrolment,
    private readonly fingerprint: string,
    private readonly workloads: ReadonlyMap<string, TunnelWorkload>,
    listed: ReadonlySet<string>,
  ) {
    const { clock, directory, log } = options;
    this.rights = new SiteRights({
      known: enrolment.assignment,
      listed: (name) => listed.has(name),
      ask: () => askForAssignment(directory),
      clock,
      refused: (facts) => log.warn(facts, 'a site asks for what it is not assigned'),
      doubted: (facts) => log.warn(facts, 'the assignment lacks a workload; it is served until another one does too'),
    });
  }

  /** Runs until {@link stop} or `POST /stop`. @throws DoorTakenError, NotEnrolledError, AgentConfigurationError */
  static async run(options: TunnelOptions, until: AbortSignal): Promise<void> {
    const { directory, clock, version } = options;
    const configuration = await readConfiguration(directory);
    const { identity, ...enrolment } = await readEnrolment(directory);
    const workloads = new Map(
      postgresWorkloads(configuration).map((each) => [each.name, new TunnelWorkload(each, directory, clock)]),
    );
    const tunnel = new Tunnel(
      options,
      enrolment,
      tunnelFingerprint(version, configuration, enrolment.assignment.agentId),
      workloads,
      new Set(configuration.workloads.map(({ name }) => name)),
    );
    const door = await openDoor(directory.tunnelSocket, (request) => tunnel.answerDoor(request));
    until.addEventListener('abort', () => tunnel.stopping.abort(), { once: true });
    try {
      await writeFile(directory.tunnelPid, `${process.pid}\n`, { mode: 0o600 });
      for (const workload of workloads.values()) await workload.begin();
      tunnel.dialer = new TunnelDialer({
        agentId: enrolment.assignment.agentId,
        identity,
        version,
        sites: enrolment.assignment.sites,
        instanceId: tunnel.instanceId,
        handlers: {
          connectWorkload: (name, from) => tunnel.connectWorkload(name, from.siteId),
          request: (request, from) => tunnel.answerSite(request, from.siteId),
        },
        log: (level, message, facts) => options.log[level](facts, message),
      });
      await tunnel.tickUntilStopped();
    } finally {
      await tunnel.dialer?.close();
      for (const workload of workloads.values()) await workload.protection.close();
      await door.close();
      await rm(directory.tunnelPid, { force: true });
    }
  }

  private async tickUntilStopped(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      for (const workload of this.workloads.values()) {
        // Side by side: a server that hangs must not keep another's lease waiting.
        void workload.tick().catch((error: unknown) => {
          this.options.log.warn({ workload: workload.configured.name, err: error }, 'a tick failed');
        });
      }
      await pause(TICK_MS, signal);
    }
  }

  private async connectWorkload(name: string, siteId: string): Promise<Duplex> {
    const workload = this.workloads.get(name);
    if (!workload) throw new WorkloadRefusedError(name, 'the agent is not configured to reach it');
    await this.rights.requireStream(siteId, name);
    if (workload.fencing.report().fenced) throw new WorkloadRefusedError(name, 'its server is fenced');
    return this.streams.connect(workload.configured, siteId);
  }

  private async answerSite(request: LinkRequest, siteId: string): Promise<LinkResponse> {
    const body = await request.json();
    if (request.path === pulseCommand.path) return { json: await this.pulse(read(pulseCommand, body), siteId) };
    await this.rights.requireCommand(siteId, request.path, body);
    if (request.path !== fenceCommand.path) return this.passOn(request, body);
    const { workloadName, workloadId, epoch } = read(fenceCommand, body);
    this.options.log.warn({ workloadName, epoch, siteId }, 'a site orders the server to be fenced');
    const { fencing } = this.workload(workloadName);
    return { json: await fencing.fence({ workloadId, epoch, promotedAtLsn: null, promotedTimeline: null }) };
  }

  private async pulse(request: PulseRequest, siteId: string): Promise<PulseAnswer> {
    const workloads = await Promise.all(request.workloads.map((entry) => this.pulseOne(entry, siteId)));
    const answer = { instanceId: this.instanceId, workloads: this.turns.thin(siteId, workloads) };
    // Cut here by the site's own bounds: it throws away what is too long before it cuts.
    return pulseAnswer.safeParse(answer).data ?? answer;
  }

  private async pulseOne(entry: PulseEntry, siteId: string): Promise<PulseAnswer['workloads'][number]> {
    const workload = this.workloads.get(entry.name);
    if (!workload) return notListed(entry, this.options.clock.now());
    const { workloadId, role, names } = entry;
    const refusal = this.rights.refusal(siteId, { workloadName: entry.name, workloadId, role, names });
    return refusal ? notAssigned(entry, this.options.clock.now(), refusal) : workload.pulse(entry);
  }

  private workload(name: string): TunnelWorkload {
    const workload = this.workloads.get(name);
    if (!workload) throw new WorkloadNotListedError(name);
    return workload;
  }

  /** To `run`, which does whatever production does not wait on. */
  private async passOn(request: LinkRequest, body: unknown): Promise<LinkResponse> {
    const answer = await knock(this.options.directory.commandSocket, request.path, {
      method: 'POST',
      body,
      timeoutMs: 600_000,
      signal: request.signal,
    }).catch((error: unknown) => {
      throw new DoorClosedError('The part of the agent that carries out commands is not running just now.', error);
    });
    if (!answer.contentType.startsWith('application/json')) return { stream: answer.stream };
    const json = await answer.json();
    if (request.path === releaseCommand.path && answer.status === 200) await this.forgetReleased(body);
    return { status: answer.status, json };
  }

  private async forgetReleased(body: unknown): Promise<void> {
    const { workloadName, role, names } = read(releaseCommand, body);
    await this.workloads.get(workloadName)?.protection.released(role, names);
  }

  private async answerDoor({ method, url, json }: DoorRequest): Promise<DoorAnswer> {
    switch (`${method} ${url.pathname}`) {
      case 'GET /status':
        return { json: this.status() };
      case 'GET /gate':
        return { json: { state: await this.gateState(url.searchParams.get('workload') ?? '') } };
      case 'POST /alarms':
        for (const [name, alarms] of Object.entries(observedAlarms.parse(await json()))) {
          this.workloads.get(name)?.protection.setObserved(alarms);
        }
        return { json: {} };
      case 'POST /assignment': {
        const { sites, ...known } = assigned.parse(await json());
        Object.assign(this.enrolment.assignment, { sites, ...known });
        this.rights.set(known);
        this.streams.endUnless((siteId, name) => this.rights.allowsStream(siteId, name));
        this.dialer?.setSites(sites);
        return { json: {} };
      }
      case 'POST /grants': {
        const served = servedGrants.parse(await json());
        for (const workload of this.workloads.values()) workload.offer(served);
        return { json: {} };
      }
      case 'POST /stop':
        this.stopping.abort();
        return { json: {} };
      default:
        return { status: 404, json: { code: 'agent.no-such-door' } };
    }
  }

  private async gateState(name: string): Promise<'confirmed' | 'fenced' | 'waiting' | 'unprotected'> {
    const { clock } = this.options;
    const workload = this.workload(name);
    const asked = clock.monotonic();
    while (clock.monotonic() - asked < GATE_WAIT_MS) {
      const state = workload.gateState(asked);
      if (state) return state;
      await delay(50);
    }
    return 'waiting';
  }

  private status(): TunnelStatus {
    const { assignment } = this.enrolment;
    const names = new Map(assignment.sites.map(({ siteId, name }) => [siteId, name]));
    return {
      pid: process.pid,
      instanceId: this.instanceId,
      fingerprint: this.fingerprint,
      startedAt: this.startedAt,
      agency: assignment.agencyName,
      agentId: assignment.agentId,
      links: (this.dialer?.status() ?? []).map((link) => ({
        siteId: link.siteId,
        site: names.get(link.siteId) ?? link.siteId,
        lane: link.lane,
        state: link.state,
        connectedSince: link.connectedSince?.toISOString() ?? null,
        roundTripMilliseconds: link.roundTripMs,
        lastError: link.lastError,
      })),
      workloads: [...this.workloads.values()].map((workload) => workload.state()),
    };
  }
}

function read<I>(command: { readonly path: string; readonly input: z.ZodType<I> }, body: unknown): I {
  const parsed = command.input.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new CommandInvalidError(command.path, z.prettifyError(parsed.error));
}

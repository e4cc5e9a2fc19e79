import { createHash, randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import {
  fenceCommand,
  pulseCommand,
  releaseCommand,
  type PulseAnswer,
  type PulseRequest,
} from '#contracts/replication';
import { alarm } from '#contracts/replication';
import { agentSite } from '#contracts/sites';
import {
  TunnelDialer,
  WorkloadRefusedError,
  WorkloadUnreachableError,
  type LinkRequest,
  type LinkResponse,
} from '#libs/link';
import type { Clock } from '#libs/platform/clock';
import type { Logger } from '#libs/platform/telemetry';
import { CommandInvalidError, WorkloadNotListedError, type PulseEntry } from '#libs/replication/agent';
import {
  readConfiguration,
  readEnrolment,
  servedGrants,
  type AgentConfiguration,
  type Enrolment,
  type StateDirectory,
} from '#libs/sites/agent';
import { z } from 'zod';
import type { TunnelStatus } from './agent-status.js';
import { DoorClosedError, knock, openDoor, type DoorAnswer, type DoorRequest } from './local-door.js';
import { TunnelWorkload } from './tunnel-workload.js';

const TICK_MS = 1_000;
/** A question of the gate waits so long for the next pulse. */
const GATE_WAIT_MS = 2_500;
const CONNECT_MS = 5_000;

/** What makes a tunnel this one and not its successor's. */
export function tunnelFingerprint(version: string, configuration: AgentConfiguration, agentId: string): string {
  const parts = [version, agentId, configuration];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

export interface TunnelOptions {
  readonly directory: StateDirectory;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
}

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
  private dialer: TunnelDialer | undefined;

  private constructor(
    private readonly options: TunnelOptions,
    private readonly enrolment: Enrolment,
    private readonly fingerprint: string,
    private readonly workloads: ReadonlyMap<string, TunnelWorkload>,
  ) {}

  /** Runs until {@link stop} or `POST /stop`. @throws DoorTakenError, NotEnrolledError, AgentConfigurationError */
  static async run(options: TunnelOptions, until: AbortSignal): Promise<void> {
    const { directory, clock, version } = options;
    const configuration = await readConfiguration(directory);
    const { identity, ...enrolment } = await readEnrolment(directory);
    const workloads = new Map(
      configuration.workloads.map((each) => [each.name, new TunnelWorkload(each, directory, clock)]),
    );
    const tunnel = new Tunnel(
      options,
      enrolment,
      tunnelFingerprint(version, configuration, enrolment.assignment.agentId),
      workloads,
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
          connectWorkload: (name) => tunnel.connectWorkload(name),
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
      await delay(TICK_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  private async connectWorkload(name: string): Promise<Duplex> {
    const workload = this.workloads.get(name);
    if (!workload) throw new WorkloadRefusedError(name, 'the agent is not configured to reach it');
    if (workload.fencing.report().fenced) throw new WorkloadRefusedError(name, 'its server is fenced');
    const { host, port } = workload.configured;
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true });
      socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error('no answer in time')));
      socket.once('connect', () => {
        socket.setTimeout(0);
        resolve(socket);
      });
      socket.once('error', (error) => reject(new WorkloadUnreachableError(name, error)));
    });
  }

  private async answerSite(request: LinkRequest, siteId: string): Promise<LinkResponse> {
    switch (request.path) {
      case pulseCommand.path:
        return { json: await this.pulse(read(pulseCommand, await request.json())) };
      case fenceCommand.path: {
        const { workloadName, workloadId, epoch } = read(fenceCommand, await request.json());
        this.options.log.warn({ workloadName, epoch, siteId }, 'a site orders the server to be fenced');
        const { fencing } = this.workload(workloadName);
        return { json: await fencing.fence({ workloadId, epoch, promotedAtLsn: null, promotedTimeline: null }) };
      }
      default:
        return this.passOn(request);
    }
  }

  private async pulse(request: PulseRequest): Promise<PulseAnswer> {
    const workloads = await Promise.all(request.workloads.map((entry) => this.pulseOne(entry)));
    return { instanceId: this.instanceId, workloads };
  }

  private async pulseOne(entry: PulseEntry): Promise<PulseAnswer['workloads'][number]> {
    const workload = this.workloads.get(entry.name);
    if (workload) return workload.pulse(entry);
    return {
      workloadId: entry.workloadId,
      reachable: false,
      lsn: null,
      timeline: null,
      systemIdentifier: null,
      wallClock: this.options.clock.now().toISOString(),
      inRecovery: null,
      armed: false,
      armedSince: null,
      notArmedBecause: "the agent's configuration does not list it",
      disarmRequest: null,
      degraded: null,
      fenced: null,
      divergence: null,
      slots: [],
      alarms: [
        {
          code: 'workload.not-listed',
          what: `The agent's configuration no longer lists "${entry.name}".`,
          remedy: 'Put it back into agent.json, or remove its protection in Mainstay.',
        },
      ],
    };
  }

  private workload(name: string): TunnelWorkload {
    const workload = this.workloads.get(name);
    if (!workload) throw new WorkloadNotListedError(name);
    return workload;
  }

  /** To `run`, which does whatever production does not wait on. */
  private async passOn(request: LinkRequest): Promise<LinkResponse> {
    const body = await request.json();
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
      case 'POST /sites': {
        const sites = z.array(agentSite).parse(await json());
        this.enrolment.assignment.sites = sites;
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

import { Injectable } from '@nestjs/common';
import { pulseCommand } from '#contracts/replication';
import type { AgentLinkInfo, TunnelGateway } from '#libs/link';
import { AppLogger } from '#libs/platform/nest';
import { PulseAnswers } from './pulse-answers.js';
import { PulseLoop, type PulsedAgent } from './pulse-loop.js';
import { PulseRequests } from './pulse-requests.js';

/**
 * Longer than the agent takes for a look at a busy server, shorter than the lease. A line that drops packets is noticed
 * by the link itself, sooner.
 */
const ANSWER_MS = 8_000;

/** An answer is read in this process, by which all agencies' commits go. */
const PULSE_BYTES = pulseCommand.answerBytes;

/** One link's end of a pulse loop. */
class LinkedPulse implements PulsedAgent {
  connected = true;

  constructor(
    readonly link: AgentLinkInfo,
    private readonly gateway: TunnelGateway,
  ) {}

  get agentId(): string {
    return this.link.agentId;
  }

  ask(path: string, json: unknown): Promise<unknown> {
    return this.gateway.request(this.agentId, 'sync', path, json, { timeoutMs: ANSWER_MS, answerBytes: PULSE_BYTES });
  }

  drop(): void {
    // A newer link of the agent's must not pay for the older one's silence.
    if (this.connected) this.gateway.drop(this.agentId, 'sync');
  }
}

/** A pulse loop for the sync lane of each connected agent, never two for one agent. */
@Injectable()
export class AgentPulses {
  private readonly loops = new Map<string, { readonly end: LinkedPulse; readonly loop: PulseLoop }>();
  private readonly running = new Set<Promise<void>>();

  constructor(
    private readonly requests: PulseRequests,
    private readonly answers: PulseAnswers,
    private readonly logger: AppLogger,
  ) {}

  connected(link: AgentLinkInfo, gateway: TunnelGateway): void {
    if (link.lane !== 'sync') return;
    const before = this.loops.get(link.agentId);
    if (before) before.end.connected = false;
    const end = new LinkedPulse(link, gateway);
    const loop = new PulseLoop(end, this.requests, this.answers, this.logger.log);
    this.loops.set(link.agentId, { end, loop });
    const run = loop.run();
    this.running.add(run);
    void run.finally(() => this.running.delete(run));
  }

  disconnected(link: AgentLinkInfo): void {
    const known = this.loops.get(link.agentId);
    if (!known || link.lane !== 'sync' || known.end.link.connectedSince !== link.connectedSince) return;
    known.end.connected = false;
    known.loop.wake();
    this.loops.delete(link.agentId);
  }

  /** Agents should hear of a change before the next pulse is due. */
  wake(): void {
    for (const { loop } of this.loops.values()) loop.wake();
  }

  /** Waits for the pulses under way; the links have ended. */
  async close(): Promise<void> {
    for (const { end, loop } of this.loops.values()) {
      end.connected = false;
      loop.wake();
    }
    await Promise.all(this.running);
  }
}

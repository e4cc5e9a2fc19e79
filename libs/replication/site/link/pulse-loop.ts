import { setTimeout as pause } from 'node:timers/promises';
import { pulseAnswer, pulseCommand } from '#contracts/replication';
import { errorText } from '#libs/platform/errors';
import type { Logger } from '#libs/platform/telemetry';
import type { PulseAnswers } from './pulse-answers.js';
import type { PulseRequests } from './pulse-requests.js';

const EVERY_MS = 1_000;
/** News (a grant, a refusal, a promotion) goes out before its second is up, but no more often than this. */
const GAP_MS = 50;

/** The sync lane of one connected agent. */
export interface PulsedAgent {
  readonly agentId: string;
  /** Posts JSON; rejects when the link is gone, or there is no answer in time. */
  ask(path: string, json: unknown): Promise<unknown>;
  readonly connected: boolean;
  /** Ends the link: called when a pulse went unanswered. */
  drop(): void;
}

/**
 * The pulse to one agent, once a second for as long as its sync lane lives.
 *
 * Never two at once: a pulse goes out only when the one before was answered. So an agent that reads a pulse knows that
 * it was sent after its own last answer, and a grant is counted from there; and pulses do not pile up before a slow one.
 * When a pulse stays unanswered the link is ended, and what may still lie in it is never followed by another.
 */
export class PulseLoop {
  private wakeUp: (() => void) | undefined;
  private woken = false;
  private fault: string | undefined;

  constructor(
    private readonly agent: PulsedAgent,
    private readonly requests: PulseRequests,
    private readonly answers: PulseAnswers,
    private readonly log: Logger,
  ) {}

  /** Returns when the link is gone. Never rejects. */
  async run(): Promise<void> {
    while (this.agent.connected) {
      const next = performance.now() + EVERY_MS;
      this.woken = false;
      try {
        await this.once();
        this.fault = undefined;
      } catch (error) {
        // The link ended, and that has been told.
        if (!this.agent.connected) return;
        const fault = errorText(error);
        // One line for each kind of trouble, not one a second.
        if (fault !== this.fault) this.log.warn({ err: error, agentId: this.agent.agentId }, 'no pulse');
        this.fault = fault;
      }
      await pause(GAP_MS);
      await this.rest(next - performance.now());
    }
  }

  /** Something that the agent should hear has changed. */
  wake(): void {
    this.woken = true;
    this.wakeUp?.();
  }

  private async once(): Promise<void> {
    const pulse = await this.requests.prepare(this.agent.agentId);
    if (!pulse || !this.agent.connected) return;
    let raw: unknown;
    try {
      raw = await this.agent.ask(pulseCommand.path, pulse.request);
    } catch (error) {
      if (isSilence(error)) this.agent.drop();
      throw error;
    }
    await this.answers.record(pulse, pulseAnswer.parse(raw));
  }

  private async rest(ms: number): Promise<void> {
    if (ms <= 0 || this.woken) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.wakeUp = resolve;
    await promise;
    clearTimeout(timer);
    this.wakeUp = undefined;
  }
}

/** No answer came, as opposed to one that says no. */
function isSilence(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'link.timeout';
}

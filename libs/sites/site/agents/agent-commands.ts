import type { Readable } from 'node:stream';
import type { z } from 'zod';

/** A command of a site to an agent, as the domains' contracts define it: JSON both ways over HTTP/2. */
export interface SiteCommand<I, O> {
  readonly path: string;
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
  /** The longest answer, in bytes of JSON; the link's own limit when absent. */
  readonly answerBytes?: number;
}

export type Lane = 'sync' | 'bulk';

export interface CallOptions {
  /** The whole call; when it is up, the call fails with AgentUnreachableError or PeerUnreachableError. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}
export interface AgentCallOptions extends CallOptions {
  /** `bulk` unless told: commands must not stand in the way of commits. */
  readonly lane?: Lane;
}
export interface StreamOptions {
  readonly lane?: Lane;
  readonly signal?: AbortSignal;
  /** The longest silence, in milliseconds, before the stream fails; 30 s unless told. */
  readonly idleMs?: number;
}

/** Commands to agents, through the link process. */
export abstract class AgentCommands {
  /**
   * @throws AgentUnreachableError when there is no link or no answer in time
   * @throws AgentRefusedError with the agent's own code and text
   */
  abstract call<I, O>(agentId: string, command: SiteCommand<I, O>, input: I, options: AgentCallOptions): Promise<O>;

  /** Posts `json` and answers the agent's bytes as they come. A cut stream ends with an error, never silently. */
  abstract stream(agentId: string, path: string, json: unknown, options?: StreamOptions): Promise<Readable>;
}

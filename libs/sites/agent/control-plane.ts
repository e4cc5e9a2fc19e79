import { z } from 'zod';
import {
  AGENT_AUTHORIZATION_SCHEME,
  agentAssignment,
  agentChallenge,
  agentProof,
  type AgentAssignment,
  type EnrolRequest,
} from '#contracts/sites';
import { signDocument, type LinkIdentity } from '#libs/link';
import { errorText } from '#libs/platform/errors';
import { ControlPlaneUnreachableError, EnrolmentRefusedError } from './errors.js';

const TIMEOUT_MS = 15_000;
const problem = z.object({ title: z.string().optional(), detail: z.string().optional() });

/** The few questions that an agent asks the control plane. Everything else comes through the sites. */
export class ControlPlane {
  constructor(private readonly url: string) {}

  /** @param idempotencyKey the same for a repetition. */
  async enrol(request: EnrolRequest, idempotencyKey: string): Promise<AgentAssignment> {
    return this.ask('/v1/agents/enrol', agentAssignment, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
      body: JSON.stringify(request),
    });
  }

  /** What this agent is assigned to now; proved by a challenge, whatever the agent's clock says. */
  async self(agentId: string, identity: LinkIdentity): Promise<AgentAssignment> {
    const { challenge } = await this.ask('/v1/agents/challenge', agentChallenge, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': crypto.randomUUID() },
      body: '{}',
    });
    const path = new URL('v1/agents/self', this.base()).pathname;
    const signature = signDocument(agentProof(agentId, challenge, path), identity.privateKey);
    return this.ask('/v1/agents/self', agentAssignment, {
      method: 'GET',
      headers: { authorization: `${AGENT_AUTHORIZATION_SCHEME} ${agentId}:${challenge}:${signature}` },
    });
  }

  private base(): string {
    return this.url.endsWith('/') ? this.url : `${this.url}/`;
  }

  private async ask<T>(path: string, schema: z.ZodType<T>, init: RequestInit): Promise<T> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(new URL(path.slice(1), this.base()), { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
      text = await response.text();
    } catch (cause) {
      const why = cause instanceof Error && cause.cause !== undefined ? errorText(cause.cause) : errorText(cause);
      throw new ControlPlaneUnreachableError(
        `Mainstay does not answer at ${this.url} (${why}). Check the address and this machine's way out, then give the same command again: nothing is lost.`,
        { cause },
      );
    }
    const body = parse(text);
    if (response.ok) {
      const parsed = schema.safeParse(body);
      if (parsed.success) return parsed.data;
      throw new ControlPlaneUnreachableError(
        `What answers at ${this.url} is not Mainstay. Check the address (--control-url), and for a proxy in between.`,
        { cause: parsed.error },
      );
    }
    const said = problem.safeParse(body);
    const words = said.success ? (said.data.detail ?? said.data.title) : undefined;
    if (response.status >= 500 || response.status === 429 || words === undefined) {
      throw new ControlPlaneUnreachableError(
        `Mainstay cannot answer just now (${response.status}${words === undefined ? '' : `: ${words}`}). Give the same command again in a minute: nothing is lost.`,
      );
    }
    throw new EnrolmentRefusedError(words, { detail: `${path}: ${response.status}` });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy's page, for example: the caller tells by the status what it means.
    return undefined;
  }
}

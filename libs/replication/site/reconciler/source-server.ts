import { Injectable } from '@nestjs/common';
import {
  armCommand,
  checkpointCommand,
  disarmCommand,
  preflightCommand,
  type PreflightReport,
  prepareCommand,
  releaseCommand,
  type ServerFacts,
} from '#contracts/replication';
import { AgentCommands } from '#libs/sites/site';
import { SourceReplacedError } from '../replication.errors.js';
import type { Standby } from '../standby.row.js';

export interface Preparation {
  readonly user: string;
  /** Never written to a row, a job or a log. */
  readonly password: string;
  readonly server: ServerFacts;
  /** Null when the slot does not keep WAL any more: it was lost. */
  readonly slotRestartLsn: string | null;
}

/** Agents work on their server with statements that may wait for others' locks. */
const COMMAND_MS = 30_000;

/**
 * What a site asks of the agency's server, through its agent. Each call ends with its signal: a failover must not wait for
 * an agent that is silent. Errors: AgentUnreachableError, AgentRefusedError.
 */
@Injectable()
export class SourceServer {
  constructor(private readonly agents: AgentCommands) {}

  /** Makes role and slot, or finds them; the role gets a new password. */
  prepare(standby: Standby, freshSlot: boolean, signal: AbortSignal): Promise<Preparation> {
    const { workloadId, workloadName, role, names } = standby;
    return this.agents.call(
      standby.agentId,
      prepareCommand,
      { workloadId, workloadName, role, names, freshSlot },
      { timeoutMs: COMMAND_MS, signal },
    );
  }

  async arm(standby: Standby, signal: AbortSignal): Promise<void> {
    const { workloadId, workloadName, names, mode } = standby;
    await this.agents.call(
      standby.agentId,
      armCommand,
      { workloadId, workloadName, names, mode },
      { timeoutMs: COMMAND_MS, signal },
    );
  }

  /** Only after it was recorded here that production is asynchronous. */
  async disarm(standby: Standby, signal: AbortSignal): Promise<void> {
    const { workloadId, workloadName, names } = standby;
    await this.agents.call(
      standby.agentId,
      disarmCommand,
      { workloadId, workloadName, names },
      { timeoutMs: COMMAND_MS, signal },
    );
  }

  async checkpoint(standby: Standby, signal: AbortSignal): Promise<string> {
    const { workloadName } = standby;
    const answer = await this.agents.call(
      standby.agentId,
      checkpointCommand,
      { workloadName },
      { timeoutMs: 300_000, signal },
    );
    return answer.lsn;
  }

  async release(standby: Standby, signal: AbortSignal): Promise<void> {
    const { workloadId, workloadName, role, names } = standby;
    await this.agents.call(
      standby.agentId,
      releaseCommand,
      { workloadId, workloadName, role, names },
      { timeoutMs: COMMAND_MS, signal },
    );
  }

  preflight(standby: Standby, supportedMajors: readonly number[], signal: AbortSignal): Promise<PreflightReport> {
    return this.agents.call(
      standby.agentId,
      preflightCommand,
      { workloadName: standby.workloadName, supportedMajors: [...supportedMajors], expectedNames: standby.names },
      { timeoutMs: COMMAND_MS, signal },
    );
  }
}

/** @throws SourceReplacedError when another cluster answers than the one that the standby was copied from */
export function requireSameCluster({ server: known }: Standby, server: ServerFacts): void {
  if (!known || known.systemIdentifier === server.systemIdentifier) return;
  throw new SourceReplacedError(`${known.systemIdentifier} → ${server.systemIdentifier}`);
}

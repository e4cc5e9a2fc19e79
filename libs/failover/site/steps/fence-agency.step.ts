import { Inject, Injectable } from '@nestjs/common';
import { fenceCommand } from '#contracts/replication';
import { DomainError } from '#libs/platform/errors';
import { AgentCommands, AgentRefusedError, SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

/** A dead agency must not hold up what is being saved. */
const FENCE_MS = 1_000;

/** Stops the agency's server, if somebody there still answers. Best effort: the promotion does not rest on it. */
@Injectable()
export class FenceAgencyStep implements RunStepHandler {
  readonly step = 'fence-agency';

  constructor(
    private readonly agents: AgentCommands,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  async run({ run, standby, signal }: StepContext): Promise<StepOutcome> {
    const { workloadId, workloadName, agentId } = standby;
    await this.requireOwnServer(workloadId);
    try {
      const answer = await this.agents.call(
        agentId,
        fenceCommand,
        { workloadId, workloadName, epoch: run.epoch },
        // Not behind a copy that is under way.
        { timeoutMs: FENCE_MS, lane: 'sync', signal },
      );
      const findings = { fenced: answer.stopped ? true : null, fencedLsn: answer.stopped ? answer.lsn : null };
      const message = answer.stopped
        ? "The agency's server was stopped and cannot write any more."
        : "The agent answered, but the agency's server is not known to be stopped.";
      return { kind: 'done', message, evidence: { evidence: answer.evidence, lsn: answer.lsn }, findings };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof DomainError)) throw error;
      return {
        kind: 'skipped',
        message: "The agency's agent does not answer; its server is fenced when it comes back.",
        evidence: { code: error.code },
        // Whoever does not answer in time may still do it; only a refusal says that nothing was done.
        findings: { fenced: error instanceof AgentRefusedError ? false : null },
      };
    }
  }

  /** Production is not stopped for a standby that does not even start. */
  private async requireOwnServer(workloadId: string): Promise<void> {
    // Why it does not answer is said by the start that follows, if that fails, too.
    const position = await this.driver.position(workloadId).catch(() => undefined);
    if (!position) await this.driver.ensureRunning(workloadId);
  }
}

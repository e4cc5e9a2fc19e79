import { setTimeout as delay } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import type { RunStep } from '#contracts/failover';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { withSpan } from '#libs/platform/telemetry';
import { Standbys } from '#libs/replication/site';
import { StepBoundaries } from '../boundaries.js';
import { RunInterruptedError, StepPostponedError } from '../failover.errors.js';
import { isClosed } from './run.states.js';
import { type RunNote, Runs } from './runs.service.js';
import { RunSteps } from '../steps/steps.js';
import type { StepOutcome } from '../steps/step.js';

/** What a step that failed says, as text for a person at 3 a.m. */
const BEGUN: Readonly<Record<RunStep, string>> = {
  'refuse-leases': 'Leases are refused from now on.',
  'fence-agency': "The agency's server is to be stopped, if it can be reached.",
  'stop-receivers': 'Both sites stop receiving.',
  compare: 'What both sites have is compared.',
  'fetch-missing': 'What only the other site has is fetched.',
  promote: 'This site becomes the primary.',
  'check-writable': 'A first write is made.',
  'switch-front-door': 'The front door is turned to this site.',
  'repoint-other-site': 'The other site is turned to this one.',
  notify: 'Everybody is told.',
};

/** What fails in passing, such as a connection, is over in moments: so many attempts are made before the run is given back. */
const QUICK_ATTEMPTS = 3;
const QUICK_PAUSE_MS = 100;
/** Further attempts are made all the same, but not each is told. */
const TOLD_ATTEMPTS = 5;

export interface StepTurn {
  /** Whether the step's begin has been written already. */
  readonly begun: boolean;
  /** How many attempts were made before this drive of the run; those that are not told are not counted. */
  readonly attempts: number;
  /** The steps that begin with this one's end. */
  readonly next: readonly RunStep[];
}

export type StepEnd = 'over' | 'waits' | 'fails';

/**
 * Runs one step to its end: begin and end are rows and events. An attempt that fails is made again at once a few times,
 * and then postponed: who waits for something must not keep others from beginning.
 * A step's end and the next one's begin are one transaction, since commits are what a run's time goes into.
 */
@Injectable()
export class StepRunner {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly standbys: Standbys,
    private readonly steps: RunSteps,
    private readonly boundaries: StepBoundaries,
    private readonly logger: AppLogger,
  ) {}

  /** The note with which a step begins, to be written with whatever comes before. */
  begins(step: RunStep): RunNote {
    return { step, stepState: 'started', message: BEGUN[step] };
  }

  /** @throws StepPostponedError when it failed and is to be tried again later; the signal's reason */
  async run(runId: string, step: RunStep, signal: AbortSignal, turn: StepTurn): Promise<StepEnd> {
    const { begun, attempts, next } = turn;
    if (!begun && attempts < TOLD_ATTEMPTS) await this.write(runId, [this.begins(step)]);
    await this.boundaries.reached(runId, step, 'begun');
    const outcome = await this.attempt(runId, step, signal, attempts);
    await this.boundaries.reached(runId, step, 'worked');
    await this.end(runId, step, outcome, next);
    await this.boundaries.reached(runId, step, 'ended');
    if (outcome.kind === 'fail') return 'fails';
    return outcome.kind === 'confirm' ? 'waits' : 'over';
  }

  private async attempt(runId: string, step: RunStep, signal: AbortSignal, earlier: number): Promise<StepOutcome> {
    for (let attempt = earlier + 1; ; attempt++) {
      const { run, standby } = await this.work.run(async (tx) => {
        const found = await this.runs.find(tx, runId);
        if (!found) throw new RunInterruptedError();
        return { run: found, standby: await this.standbys.get(tx, found.workloadId) };
      });
      try {
        const attributes = {
          'mainstay.run_id': runId,
          'mainstay.workload_id': run.workloadId,
          'mainstay.tenant_id': run.tenantId,
          'mainstay.step': step,
          'mainstay.attempt': attempt,
        };
        return await withSpan(`failover step ${step}`, { attributes }, async (span) => {
          const outcome = await this.steps.of(step).run({ run, standby, signal });
          span.set({ 'mainstay.outcome': outcome.kind });
          this.logger.log.info({ step, attempt, outcome: outcome.kind }, 'a step of a failover has ended');
          return outcome;
        });
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof RunInterruptedError) throw error;
        this.logger.log.warn({ err: error, runId, step, attempt }, 'a step of a failover failed; trying again');
        if (attempt <= TOLD_ATTEMPTS) await this.write(runId, [retrying(step, error)]);
        if (attempt >= QUICK_ATTEMPTS) throw new StepPostponedError(step, error);
        await delay(QUICK_PAUSE_MS * attempt, undefined, { signal });
        await this.write(runId, [this.begins(step)]);
      }
    }
  }

  private async end(runId: string, step: RunStep, outcome: StepOutcome, next: readonly RunStep[]): Promise<void> {
    await this.work.run(async (tx) => {
      const run = await this.runs.lock(tx, runId);
      // A newer promotion at the other site has ended it meanwhile: nothing of it is to be written over that.
      if (isClosed(run.state)) throw new RunInterruptedError();
      if (outcome.kind === 'confirm') {
        await this.runs.learn(tx, runId, { loss: outcome.loss, lossUntil: null });
        await this.runs.turn(tx, run, 'awaiting-confirmation', {
          step,
          message: outcome.message,
          evidence: { loss: outcome.loss },
        });
        return;
      }
      if (outcome.kind === 'fail') {
        const { message, evidence } = outcome;
        await this.runs.note(tx, run, [{ step, stepState: 'failed', message, evidence: evidence ?? {} }]);
        return;
      }
      await this.runs.learn(tx, runId, outcome.findings ?? {});
      await outcome.write?.(tx);
      const ended: RunNote = {
        step,
        stepState: outcome.kind,
        message: outcome.message,
        evidence: outcome.evidence ?? {},
      };
      await this.runs.note(tx, run, [ended, ...next.map((each) => this.begins(each))]);
      if (step === 'notify') await this.runs.turn(tx, run, 'completed', { message: 'The failover is complete.' });
    });
  }

  private async write(runId: string, notes: readonly RunNote[]): Promise<void> {
    await this.work.run(async (tx) => this.runs.note(tx, await this.runs.lock(tx, runId), notes));
  }
}

function retrying(step: RunStep, error: unknown): RunNote {
  const message =
    error instanceof DomainError ? error.message : 'This failed for an unexpected reason and is tried again.';
  const evidence = error instanceof DomainError ? { code: error.code } : {};
  return { step, stepState: 'retrying', message, evidence };
}

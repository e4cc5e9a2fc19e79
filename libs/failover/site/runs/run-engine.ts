import { Injectable } from '@nestjs/common';
import { RUN_STEPS, type RunStep } from '#contracts/failover';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { JobQueue } from '#libs/platform/queue';
import { type SpanOptions, withLogContext, withSpan } from '#libs/platform/telemetry';
import { Claims } from '#libs/replication/site';
import { RunInterruptedError, StepPostponedError } from '../failover.errors.js';
import { resumeRunJob } from '../failover.jobs.js';
import { RunCancelling } from './run-cancelling.js';
import type { FailoverRun, StepRecord } from './run.row.js';
import { isDriven, isOver } from './run.states.js';
import { Runs } from './runs.service.js';
import { StepRunner, type StepTurn } from './step-runner.js';

/** Between two attempts at a run that fails, in milliseconds; doubled with each. */
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 2_000;

interface Failing {
  readonly times: number;
  /** By the monotonic clock, in milliseconds. */
  readonly until: number;
}

/** The steps one after another, without the one that may run beside them. */
const SEQUENCE: readonly RunStep[] = RUN_STEPS.filter((step) => step !== 'fence-agency');

/**
 * Drives failover runs, each by one caller at a time, from wherever its rows say it is. It needs this site's database,
 * its driver and nothing else: neither the control plane nor anything of the agency's.
 *
 * Where nothing is lost whatever the old server does, it is fenced beside the other steps, and its second at most is not
 * waited for before the first write. Where something may be lost, it is stopped before the receivers are: a clean stop
 * sends all it has.
 */
@Injectable()
export class RunEngine {
  private readonly driving = new Map<string, AbortController>();
  /**
   * Runs that failed when they were last driven, by this process: another one just tries sooner. Nothing is held for
   * them meanwhile, neither a job's place nor the standby's claim.
   */
  private readonly failing = new Map<string, Failing>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly runs: Runs,
    private readonly runner: StepRunner,
    private readonly cancelling: RunCancelling,
    private readonly claims: Claims,
    private readonly queue: JobQueue,
    private readonly logger: AppLogger,
  ) {}

  /** Drives a run as far as it goes now. Nothing to do when it is being driven, awaits a person's word, or is closed. */
  async advance(runId: string, signal: AbortSignal): Promise<void> {
    if (this.driving.has(runId)) return;
    const interrupt = new AbortController();
    this.driving.set(runId, interrupt);
    try {
      const run = await this.find(runId);
      if (!run || !isDriven(run.state)) return void this.failing.delete(runId);
      const either = AbortSignal.any([signal, interrupt.signal]);
      const { workloadId, tenantId } = run;
      const drive = () =>
        this.claims.hold(`standby/${workloadId}`, (held) => this.drive(runId, held), { preempt: true, signal: either });
      await withLogContext({ runId, workloadId, tenantId }, () => withSpan('failover run', spanOf(run), drive));
      this.failing.delete(runId);
    } catch (error) {
      if (error instanceof StepPostponedError) return this.postpone(runId);
      if (!interrupt.signal.aborted && !signal.aborted && !(error instanceof RunInterruptedError)) {
        this.postpone(runId);
        throw error;
      }
      this.logger.log.info({ runId }, 'a run was interrupted');
    } finally {
      this.driving.delete(runId);
    }
  }

  isDriving(runId: string): boolean {
    return this.driving.has(runId);
  }

  /** Whether the time for its next attempt has not come. A person's word is not waited with. */
  isWaiting(runId: string): boolean {
    return (this.failing.get(runId)?.until ?? 0) > performance.now();
  }

  hasFailed(runId: string): boolean {
    return this.failing.has(runId);
  }

  /** Ends what the run is at now, because its row has changed: it is looked at anew by the next advance. */
  interrupt(runId: string): void {
    this.driving.get(runId)?.abort(new RunInterruptedError());
  }

  private postpone(runId: string): void {
    const times = this.failing.get(runId)?.times ?? 0;
    const delayMs = Math.min(FIRST_PAUSE_MS * 2 ** times, LONGEST_PAUSE_MS);
    this.failing.set(runId, { times: times + 1, until: performance.now() + delayMs });
    this.queue.wake(resumeRunJob, { runId }, { delayMs });
  }

  private async drive(runId: string, signal: AbortSignal): Promise<void> {
    const { run, steps } = await this.work.run(async (tx) => ({
      run: await this.runs.find(tx, runId),
      steps: await this.runs.steps(tx, runId),
    }));
    if (!run || !isDriven(run.state)) return;
    if (run.state === 'cancelling') return this.cancelling.undo(run, signal);
    if (run.state === 'accepted') {
      await this.work.run((tx) => this.runs.turn(tx, run, 'running', { message: 'The failover has begun.' }));
    }
    const progress = new Progress(steps);
    let fencing: Promise<unknown> | undefined;
    try {
      for (const step of SEQUENCE) {
        if (progress.isOver(step)) continue;
        if (step === 'stop-receivers') {
          fencing = this.startFence(runId, progress, signal);
          // Waited for only when what the old server still sends decides what is lost.
          if ((await this.find(runId))?.loss?.kind !== 'none') await fencing;
        }
        if (step === 'repoint-other-site') {
          fencing ??= this.startFence(runId, progress, signal);
          await fencing;
        }
        const following = SEQUENCE[SEQUENCE.indexOf(step) + 1];
        const next = following && joins(step) ? [following] : [];
        const end = await this.runner.run(runId, step, signal, progress.turn(step, next));
        if (end === 'waits') return;
        if (end === 'fails') return await this.cancelling.fail(run, signal);
        if (next[0]) progress.begun(next[0]);
      }
    } finally {
      // Whatever ended the run, its last command to the agent is not left running behind the claim.
      await Promise.allSettled([fencing]);
    }
  }

  private startFence(runId: string, progress: Progress, signal: AbortSignal): Promise<unknown> | undefined {
    if (progress.isOver('fence-agency')) return undefined;
    const fencing = this.runner.run(runId, 'fence-agency', signal, progress.turn('fence-agency', []));
    // Its failure is the run's where it is awaited; it must not end the process before.
    fencing.catch(() => undefined);
    return fencing;
  }

  private find(runId: string): Promise<FailoverRun | undefined> {
    return this.work.run((tx) => this.runs.find(tx, runId));
  }
}

/** A run that goes on after a crash, or after a person's word, has one more span in the trace of its declaration. */
const spanOf = (run: FailoverRun): SpanOptions => ({
  parent: run.traceparent,
  attributes: {
    'mainstay.run_id': run.id,
    'mainstay.workload_id': run.workloadId,
    'mainstay.tenant_id': run.tenantId,
    'mainstay.epoch': run.epoch,
    'mainstay.declaration': run.declaration,
  },
});

/** The steps that begin in the transaction of the one before: all but those that something else comes in between. */
const joins = (step: RunStep): boolean => step !== 'refuse-leases' && step !== 'switch-front-door';

/** How far a run has come, as its steps' rows say and as this drive goes on. */
class Progress {
  private readonly over = new Set<RunStep>();
  private readonly open = new Set<RunStep>();
  private readonly attempts = new Map<RunStep, number>();

  constructor(steps: readonly StepRecord[]) {
    for (const { step, state, attempt } of steps) {
      if (isOver(state)) this.over.add(step);
      this.attempts.set(step, attempt);
    }
  }

  isOver(step: RunStep): boolean {
    return this.over.has(step);
  }

  /** A step that a dead process began is begun again, and counts as another attempt. */
  turn(step: RunStep, next: readonly RunStep[]): StepTurn {
    return { begun: this.open.has(step), attempts: this.attempts.get(step) ?? 0, next };
  }

  begun(step: RunStep): void {
    this.open.add(step);
  }
}

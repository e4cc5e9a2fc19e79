import { Injectable } from '@nestjs/common';
import { type RunState, type RunStep, runEventResult } from '#contracts/failover';
import type { SiteTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { SiteOutbox } from '#libs/sites/site';
import { RunInterruptedError } from '../failover.errors.js';
import { FINDING_COLUMNS, type FailoverRun, RUN_COLUMNS, type RunFindings, type StepRecord } from './run.row.js';
import { mayTurn, type StepState } from './run.states.js';

/** Something that happens to a run: a step's begin or end, or a change of the whole. */
export interface RunNote {
  readonly step?: RunStep;
  readonly stepState?: StepState;
  readonly message: string;
  readonly evidence?: Readonly<Record<string, unknown>>;
}

/** A run's rows. What happens to a run is written and told in one transaction. */
@Injectable()
export class Runs {
  constructor(private readonly outbox: SiteOutbox) {}

  async find(tx: SiteTransaction, runId: string): Promise<FailoverRun | undefined> {
    const [run] = await tx.query<FailoverRun>(`SELECT ${RUN_COLUMNS} FROM failover_run WHERE id = $1`, [runId]);
    return run;
  }

  /** @throws NotFoundError */
  async lock(tx: SiteTransaction, runId: string): Promise<FailoverRun> {
    const [run] = await tx.query<FailoverRun>(`SELECT ${RUN_COLUMNS} FROM failover_run WHERE id = $1 FOR UPDATE`, [
      runId,
    ]);
    if (!run) throw new NotFoundError('failover run');
    return run;
  }

  async openOf(tx: SiteTransaction, workloadId: string): Promise<FailoverRun | undefined> {
    const [run] = await tx.query<FailoverRun>(
      `SELECT ${RUN_COLUMNS} FROM failover_run
        WHERE workload_id = $1 AND state IN ('accepted', 'running', 'awaiting-confirmation', 'cancelling')`,
      [workloadId],
    );
    return run;
  }

  async steps(tx: SiteTransaction, runId: string): Promise<StepRecord[]> {
    return tx.query<StepRecord>('SELECT step, state, attempt FROM failover_step WHERE run_id = $1', [runId]);
  }

  /**
   * Turns a run to another state.
   *
   * @throws RunInterruptedError when it is not in a state that this may follow: it was cancelled meanwhile
   */
  async turn(tx: SiteTransaction, run: FailoverRun, state: RunState, note: RunNote): Promise<void> {
    const now = await this.lock(tx, run.id);
    if (!mayTurn(now.state, state)) throw new RunInterruptedError();
    await tx.execute(
      `UPDATE failover_run SET state = $2, reason = $3,
              finished_at = CASE WHEN $4 THEN clock_timestamp() END WHERE id = $1`,
      [run.id, state, note.message, state === 'cancelled' || state === 'completed' || state === 'failed'],
    );
    await this.note(tx, run, [note]);
  }

  /** Writes what steps found out. */
  async learn(tx: SiteTransaction, runId: string, findings: RunFindings): Promise<void> {
    const entries = Object.entries(findings).filter(([, value]) => value !== undefined);
    if (entries.length === 0) return;
    const values: unknown[] = [runId];
    const sets = entries.map(([name, value]) => {
      values.push(name === 'loss' || name === 'frontDoor' ? JSON.stringify(value) : value);
      return `${FINDING_COLUMNS[name as keyof RunFindings]} = $${values.length}`;
    });
    await tx.execute(`UPDATE failover_run SET ${sets.join(', ')} WHERE id = $1`, values);
  }

  /** Writes steps' begins and ends, and tells of each, in their order. */
  async note(tx: SiteTransaction, run: FailoverRun, notes: readonly RunNote[]): Promise<void> {
    if (notes.length === 0) return;
    const [row] = await tx.query<{ number: number; state: RunState }>(
      `UPDATE failover_run SET event_number = event_number + $2 WHERE id = $1 RETURNING event_number AS number, state`,
      [run.id, notes.length],
    );
    if (!row) throw new NotFoundError('failover run');
    let number = row.number - notes.length;
    for (const note of notes) {
      const attempt =
        note.step && note.stepState ? await this.writeStep(tx, run.id, note.step, note.stepState, note) : null;
      number += 1;
      await this.outbox.emit(
        tx,
        runEventResult,
        { tenantId: run.tenantId, orderId: run.orderId },
        {
          runId: run.id,
          workloadId: run.workloadId,
          number,
          at: new Date().toISOString(),
          state: row.state,
          step: note.step ?? null,
          stepState: note.stepState ?? null,
          attempt,
          message: note.message,
          evidence: note.evidence ?? {},
        },
      );
    }
  }

  private async writeStep(
    tx: SiteTransaction,
    runId: string,
    step: RunStep,
    state: StepState,
    note: RunNote,
  ): Promise<number> {
    const [row] = await tx.query<{ attempt: number }>(
      `INSERT INTO failover_step (run_id, step, state, message, evidence) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (run_id, step) DO UPDATE SET state = excluded.state, message = excluded.message,
         evidence = excluded.evidence,
         attempt = failover_step.attempt + CASE WHEN excluded.state = 'started' THEN 1 ELSE 0 END,
         ended_at = CASE WHEN excluded.state IN ('done', 'skipped', 'failed') THEN clock_timestamp() END
       RETURNING attempt`,
      [runId, step, state, note.message, JSON.stringify(note.evidence ?? {})],
    );
    return row?.attempt ?? 1;
  }
}

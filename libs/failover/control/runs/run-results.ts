import {
  cancelFailoverOrder,
  confirmFailoverOrder,
  failoverOrder,
  RUN_STATES,
  runEventResult,
  runFinishedResult,
  type RunState,
} from '#contracts/failover';
import { orderFailed, type ResultContract, storableText } from '#contracts/sites';
import { Injectable } from '@nestjs/common';
import { noticeRaised } from '#libs/notifications/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { Outbox } from '#libs/platform/outbox';
import { CLOSED_DOORS, ProtectionDuringFailover } from '#libs/replication/control';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { ForeignReportError } from '../failover.errors.js';
import { FINAL_STATES, isFinal, runStatesBefore } from '../failover.states.js';
import { NOT_PROMOTED, RunOrders } from './run-orders.js';

type Payload<C> = C extends ResultContract<infer P> ? P : never;
type Finished = Payload<typeof runFinishedResult>;

interface HeldRun {
  readonly id: string;
  readonly tenantId: string;
  readonly workloadId: string;
  readonly workloadName: string;
  readonly number: number;
  readonly epoch: number;
  readonly state: RunState;
}

interface Wanted {
  readonly by: 'id' | 'order_id';
  readonly value: string | null;
  readonly states: readonly RunState[];
}

const OPEN_STATES = RUN_STATES.filter((state) => !isFinal(state));
/** The states of a run whose site has not told its end: one that was given up is cancelled before that. */
const UNTOLD_STATES: readonly RunState[] = [...OPEN_STATES, 'cancelled'];

/** The run of this site's, with its workload's row held; undefined when the site has no such run in these states. */
async function hold(tx: ProviderTransaction, siteId: string, { by, value, states }: Wanted) {
  const [run] = await tx.query<HeldRun>(
    `SELECT run.id, run.tenant_id AS "tenantId", run.workload_id AS "workloadId", w.name AS "workloadName",
            run.declaration_number AS number, run.epoch, run.state
       FROM failover_run run JOIN workload w ON w.tenant_id = run.tenant_id AND w.id = run.workload_id
      WHERE run.${by} = $1 AND run.site_id = $2 AND run.state = ANY($3) FOR UPDATE OF w`,
    [value, siteId, states],
  );
  return run;
}

/** Keeps each event of a run, once, and the state that it tells. */
@AppliesResult(runEventResult)
export class RunEventHandler implements ResultHandler<Payload<typeof runEventResult>> {
  async apply(
    tx: ProviderTransaction,
    { siteId, payload }: AppliedResult<Payload<typeof runEventResult>>,
  ): Promise<void> {
    const { runId, number, at, state, step, stepState, attempt, message, evidence } = payload;
    const kept = await tx.execute(
      `INSERT INTO run_event (tenant_id, run_id, number, at, state, step, step_state, attempt, message, evidence)
       SELECT tenant_id, id, $3, $4, $5, $6, $7, $8, $9, $10 FROM failover_run WHERE id = $1 AND site_id = $2
       ON CONFLICT DO NOTHING`,
      [runId, siteId, number, at, state, step, stepState, attempt, message, JSON.stringify(evidence)],
    );
    // The end comes with its report, as a result of its own.
    if (kept === 0 || isFinal(state)) return;
    await tx.execute(`UPDATE failover_run SET state = $3 WHERE id = $1 AND site_id = $2 AND state = ANY($4)`, [
      runId,
      siteId,
      state,
      runStatesBefore(state),
    ]);
  }
}

/** What the end of a run means to the workload, its protection and the people. */
@Injectable()
export class RunEnding {
  constructor(
    private readonly protections: ProtectionDuringFailover,
    private readonly orders: RunOrders,
    private readonly outbox: Outbox,
  ) {}

  async end(tx: ProviderTransaction, siteId: string, run: HeldRun, finished: Finished | RunFailure): Promise<void> {
    const { state, reason, report } = finished;
    // It was given up before, and that stands, unless it has promoted all the same.
    if (run.state === 'cancelled' && (report?.promotedAtLsn ?? null) === null) {
      return this.orders.ended(tx, run, NOT_PROMOTED);
    }
    await tx.execute(
      `UPDATE failover_run SET state = $3, state_reason = $4, report = $5, finished_at = now()
        WHERE tenant_id = $1 AND id = $2`,
      [run.tenantId, run.id, state, reason, report && JSON.stringify(report)],
    );
    // A run that failed after the promotion has promoted all the same.
    if (report !== null && report.promotedAtLsn !== null) {
      const { tenantId, workloadId: id } = run;
      const workload = { tenantId, id, epoch: run.epoch, siteId };
      await this.protections.promoted(tx, workload, { newerRunOpen: await this.newerOpen(tx, run) });
      const { promotedAtLsn, promotedTimeline } = report;
      await this.orders.ended(tx, run, { word: 'promoted', promotedAtLsn, promotedTimeline });
    } else {
      await this.protections.abandoned(tx, run.tenantId, run.workloadId);
      await this.orders.ended(tx, run, NOT_PROMOTED);
    }
    const admitsClients = await this.protections.admitsClients(tx, run.tenantId, run.workloadId);
    await this.outbox.publish(tx, noticeRaised, run.tenantId, {
      kind: 'failover.finished',
      severity: state === 'completed' ? 'warning' : 'alarm',
      title: `${run.workloadName}: failover ${state} (declaration ${run.number})`,
      text: storableText(describe(run, finished, admitsClients), 4_000),
      subjectIds: { workloadId: run.workloadId, runId: run.id },
      dedupeKey: `failover.finished ${run.id} ${state}`,
    });
  }

  private async newerOpen(tx: ProviderTransaction, run: HeldRun): Promise<boolean> {
    const rows = await tx.query(
      `SELECT FROM failover_run WHERE tenant_id = $1 AND workload_id = $2 AND epoch > $3 AND state = ANY($4)`,
      [run.tenantId, run.workloadId, run.epoch, OPEN_STATES],
    );
    return rows.length > 0;
  }
}

interface RunFailure {
  readonly state: 'failed';
  readonly reason: string;
  readonly report: null;
}

function describe(run: HeldRun, { state, reason, report }: Finished | RunFailure, admitsClients: boolean): string {
  if (state !== 'completed' || report === null) {
    return `The failover of ${run.workloadName} ended as ${state}: ${reason ?? 'no reason given'}. The run's steps at /v1/failovers/${run.id} say what was done.`;
  }
  const seconds = report.secondsToFirstWrite === null ? '' : ` First write after ${report.secondsToFirstWrite} s.`;
  let door = '';
  if (report.frontDoor !== null) {
    const { host, port } = report.frontDoor;
    door = admitsClients
      ? ` Clients reach it at ${host}:${port}.`
      : ` Its front door is ${host}:${port}, and nobody gets in: ${CLOSED_DOORS.what} ${CLOSED_DOORS.remedy}`;
  }
  return `${run.workloadName} runs at the warm site.${seconds} Loss: ${report.loss.kind}. ${report.loss.why}${door}`;
}

@AppliesResult(runFinishedResult)
export class RunFinishedHandler implements ResultHandler<Finished> {
  constructor(private readonly ending: RunEnding) {}

  /** @throws ForeignReportError: the epoch that a promotion counts as is the one that was declared */
  async apply(tx: ProviderTransaction, { siteId, payload }: AppliedResult<Finished>): Promise<void> {
    if (!isFinal(payload.state)) return;
    const run = await hold(tx, siteId, { by: 'id', value: payload.report.runId, states: UNTOLD_STATES });
    if (!run) return;
    const { workloadId, epoch } = payload.report;
    if (workloadId !== run.workloadId || epoch !== run.epoch) throw new ForeignReportError(run.id, workloadId, epoch);
    await this.ending.end(tx, siteId, run, payload);
  }
}

const STEERING: readonly string[] = [cancelFailoverOrder.kind, confirmFailoverOrder.kind];

/** The site will not carry the run out at all, or not what was asked of it later: then the run says why. */
@AppliesResult(orderFailed)
export class RunRefusedHandler implements ResultHandler<Payload<typeof orderFailed>> {
  constructor(private readonly ending: RunEnding) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<Payload<typeof orderFailed>>): Promise<void> {
    const { kind, code, message } = result.payload;
    const reason = `${message} (${code})`;
    if (STEERING.includes(kind)) {
      await tx.execute(
        `UPDATE failover_run run SET state_reason = $3 FROM outgoing_order o
          WHERE o.id = $1 AND o.site_id = $2 AND run.site_id = $2 AND run.id = (o.payload->>'runId')::uuid
            AND run.state <> ALL($4)`,
        [result.orderId, result.siteId, reason, FINAL_STATES],
      );
    }
    if (kind !== failoverOrder.kind) return;
    const run = await hold(tx, result.siteId, { by: 'order_id', value: result.orderId, states: UNTOLD_STATES });
    if (run) await this.ending.end(tx, result.siteId, run, { state: 'failed', reason, report: null });
  }
}

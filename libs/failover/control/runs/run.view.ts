import {
  type AcceptedLoss,
  type OldServerFate,
  RUN_STEPS,
  type RunEvent,
  runReport,
  type RunState,
  type RunStep,
} from '#contracts/failover';
import type { z } from 'zod';

export interface StepView {
  readonly step: RunStep;
  readonly state: 'pending' | 'started' | 'done' | 'skipped' | 'retrying' | 'failed';
  readonly attempt: number | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly message: string | null;
  readonly evidence: Record<string, unknown>;
}

export interface RunView {
  readonly id: string;
  readonly workloadId: string;
  readonly siteId: string;
  readonly siteName: string;
  readonly orderId: string;
  readonly epoch: number;
  readonly state: RunState;
  readonly stateReason: string | null;
  readonly declaration: {
    readonly number: number;
    readonly reason: string;
    readonly acceptLoss: AcceptedLoss;
    readonly oldServer: OldServerFate;
    readonly declaredBy: { readonly kind: string; readonly id: string | null; readonly name: string };
    readonly declaredAt: string;
  };
  /** What people added to the declaration later on. */
  readonly additions: readonly Addition[];
  readonly steps: readonly StepView[];
  readonly report: z.infer<typeof runReport> | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  /** For the next page's cursor. */
  readonly createdMicroseconds: number;
}

export interface Addition {
  readonly kind: 'confirm' | 'cancel';
  readonly acceptLoss: AcceptedLoss | null;
  readonly oldServer: OldServerFate | null;
  readonly by: { readonly kind: string; readonly id: string | null; readonly name: string };
  readonly at: string;
}

export type RunRow = Omit<RunView, 'steps'>;

export const RUN_QUERY = `SELECT run.id, run.workload_id AS "workloadId", run.site_id AS "siteId", site.name AS "siteName",
    run.order_id AS "orderId", run.epoch, run.state, run.state_reason AS "stateReason", run.report,
    run.created_at AS "createdAt", run.finished_at AS "finishedAt",
    (extract(epoch FROM run.created_at) * 1000000)::bigint AS "createdMicroseconds",
    json_build_object('number', d.number, 'reason', d.reason, 'acceptLoss', d.accepted_loss, 'oldServer', d.old_server,
      'declaredBy', d.declared_by, 'declaredAt', d.declared_at) AS declaration,
    coalesce((SELECT json_agg(json_build_object('kind', a.kind, 'acceptLoss', a.accepted_loss, 'oldServer', a.old_server,
        'by', a.said_by, 'at', a.said_at) ORDER BY a.said_at)
      FROM declaration_addition a WHERE a.tenant_id = run.tenant_id AND a.declaration_id = run.declaration_id), '[]')
      AS additions
  FROM failover_run run JOIN site ON site.id = run.site_id
    JOIN declaration d ON d.tenant_id = run.tenant_id AND d.id = run.declaration_id`;

const utc = (text: string): string => new Date(text).toISOString();

/** A row with its times as they are written in answers: inside JSON they arrive as PostgreSQL writes them. */
export function toRunSummary(row: RunRow): RunRow {
  return {
    ...row,
    createdMicroseconds: Number(row.createdMicroseconds),
    declaration: { ...row.declaration, declaredAt: utc(row.declaration.declaredAt) },
    additions: row.additions.map((one) => ({ ...one, at: utc(one.at) })),
  };
}

export function toRunView(row: RunRow, events: readonly RunEvent[]): RunView {
  return { ...toRunSummary(row), steps: RUN_STEPS.map((step) => stepOf(step, events)) };
}

/** A step as its newest attempt left it. */
function stepOf(step: RunStep, events: readonly RunEvent[]): StepView {
  const mine = events.filter((event) => event.step === step && event.stepState !== null);
  const last = mine.at(-1);
  if (!last) {
    return { step, state: 'pending', attempt: null, startedAt: null, endedAt: null, message: null, evidence: {} };
  }
  const ended = last.stepState !== 'started' && last.stepState !== 'retrying';
  return {
    step,
    state: last.stepState ?? 'pending',
    attempt: last.attempt,
    startedAt: mine[0]?.at ?? null,
    endedAt: ended ? last.at : null,
    message: last.message,
    evidence: last.evidence,
  };
}

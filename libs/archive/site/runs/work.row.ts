import type { Failure, Progress, RestoreWish, WorkResult } from '#contracts/archive';
import type { SiteTransaction } from '#libs/platform/database';

/** `unknown`: the agent is silent, so nobody knows how it stands. */
export type WorkState = 'waiting' | 'running' | 'unknown' | 'completed' | 'partial' | 'failed' | 'cancelled';

/** What a work can become. Ends are final. */
export const WORK_TRANSITIONS: Readonly<Record<WorkState, readonly WorkState[]>> = {
  waiting: ['running', 'failed', 'cancelled'],
  running: ['unknown', 'completed', 'partial', 'failed', 'cancelled'],
  unknown: ['running', 'completed', 'partial', 'failed', 'cancelled'],
  completed: [],
  partial: [],
  failed: [],
  cancelled: [],
};
export const isOver = (state: WorkState): boolean => WORK_TRANSITIONS[state].length === 0;

/** A run or a restore: work of the agent's that a row of this site knows of. */
export interface WorkRow {
  readonly workId: string;
  readonly archiveId: string;
  readonly state: WorkState;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
  /** When the agent last said how far it is. */
  readonly seenAt: Date | null;
  readonly cancelWanted: boolean;
  /** Of the vault; null before the first begin, and again once all of it has been tidied up. */
  readonly credentialId: string | null;
  readonly begun: number;
  readonly begunLimit: number | null;
  readonly progress: Progress | null;
  readonly result: WorkResult | null;
  readonly failure: Failure | null;
  readonly version: number;
}
export interface RunRow extends WorkRow {
  readonly cause: 'schedule' | 'request';
  readonly dueAt: Date;
  /** What the repository took before it began, in bytes. */
  readonly storedBefore: number | null;
}
export interface RestoreRow extends WorkRow {
  readonly wish: RestoreWish;
  readonly createdAt: Date;
}

const COMMON = `archive_id AS "archiveId", state, started_at AS "startedAt", ended_at AS "endedAt", seen_at AS "seenAt",
  cancel_wanted AS "cancelWanted", credential_id AS "credentialId", begun, begun_limit::float8 AS "begunLimit", progress,
  result, failure, version`;

/** One of the two tables of work. */
export interface WorkTable<R extends WorkRow> {
  readonly name: 'archive_run' | 'archive_restore';
  readonly id: 'run_id' | 'restore_id';
  readonly columns: string;
  /** Only for its type. */
  readonly row?: R;
}
export const RUNS: WorkTable<RunRow> = {
  name: 'archive_run',
  id: 'run_id',
  columns: `run_id AS "workId", cause, due_at AS "dueAt", stored_before::float8 AS "storedBefore", ${COMMON}`,
};
export const RESTORES: WorkTable<RestoreRow> = {
  name: 'archive_restore',
  id: 'restore_id',
  columns: `restore_id AS "workId", wish, created_at AS "createdAt", ${COMMON}`,
};

export async function findWork<R extends WorkRow>(
  tx: SiteTransaction,
  table: WorkTable<R>,
  workId: string,
): Promise<R | undefined> {
  const [row] = await tx.query<R>(`SELECT ${table.columns} FROM ${table.name} WHERE ${table.id} = $1`, [workId]);
  return row;
}

export type WorkChange = Partial<
  Pick<
    RunRow,
    | 'state'
    | 'startedAt'
    | 'endedAt'
    | 'seenAt'
    | 'credentialId'
    | 'begun'
    | 'begunLimit'
    | 'progress'
    | 'result'
    | 'failure'
    | 'storedBefore'
  >
>;
const CHANGED: Readonly<Record<keyof WorkChange, string>> = {
  state: 'state',
  startedAt: 'started_at',
  endedAt: 'ended_at',
  seenAt: 'seen_at',
  credentialId: 'credential_id',
  begun: 'begun',
  begunLimit: 'begun_limit',
  progress: 'progress',
  result: 'result',
  failure: 'failure',
  storedBefore: 'stored_before',
};
const JSON_COLUMNS: readonly string[] = ['progress', 'result', 'failure'];

/**
 * Changes the row if nobody has since it was read; a state only to one that can follow.
 *
 * @returns the row as it is now; undefined when somebody was faster
 */
export async function changeWork<R extends WorkRow>(
  tx: SiteTransaction,
  table: WorkTable<R>,
  row: R,
  change: WorkChange,
): Promise<R | undefined> {
  const { state } = change;
  if (state !== undefined && state !== row.state && !WORK_TRANSITIONS[row.state].includes(state)) {
    throw new Error(`${table.name} ${row.workId}: ${row.state} does not become ${state}`);
  }
  const values: unknown[] = [row.workId, row.version];
  const sets = Object.entries(change).map(([name, value]) => {
    values.push(JSON_COLUMNS.includes(name) && value !== null ? JSON.stringify(value) : value);
    return `${CHANGED[name as keyof WorkChange]} = $${values.length}`;
  });
  const changed = await tx.execute(
    `UPDATE ${table.name} SET ${[...sets, 'version = version + 1'].join(', ')} WHERE ${table.id} = $1 AND version = $2`,
    values,
  );
  return changed === 1 ? findWork(tx, table, row.workId) : undefined;
}

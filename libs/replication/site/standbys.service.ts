import { Injectable } from '@nestjs/common';
import { standbyChanged, type StandbyState } from '#contracts/replication';
import type { SiteTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { SiteOutbox } from '#libs/sites/site';
import { StandbyChangedError, StandbyTransitionError } from './replication.errors.js';
import { CHANGE_COLUMNS, JSON_COLUMNS, STANDBY_COLUMNS, type Standby, type StandbyChanges } from './standby.row.js';
import { mayBecome } from './standby.states.js';

export interface StandbyStep {
  /** The state that is reached; as it was when left out. */
  readonly state?: StandbyState;
  /** Why it is so, for a person; null clears it. As it was when left out and the state stays. */
  readonly reason?: string | null;
  readonly changes?: StandbyChanges;
}

/** The standbys' rows. Each change checks the table of states, and tells the control plane in the same transaction. */
@Injectable()
export class Standbys {
  constructor(private readonly outbox: SiteOutbox) {}

  async find(tx: SiteTransaction, workloadId: string): Promise<Standby | undefined> {
    const [row] = await tx.query<Standby>(`SELECT ${STANDBY_COLUMNS} FROM standby WHERE workload_id = $1`, [
      workloadId,
    ]);
    return row;
  }

  /** @throws NotFoundError */
  async get(tx: SiteTransaction, workloadId: string): Promise<Standby> {
    const row = await this.find(tx, workloadId);
    if (!row) throw new NotFoundError('workload');
    return row;
  }

  /** Locks the row for the rest of the transaction. @throws NotFoundError */
  async lock(tx: SiteTransaction, workloadId: string): Promise<Standby> {
    const [row] = await tx.query<Standby>(
      `SELECT ${STANDBY_COLUMNS} FROM standby WHERE workload_id = $1 FOR NO KEY UPDATE`,
      [workloadId],
    );
    if (!row) throw new NotFoundError('workload');
    return row;
  }

  async list(tx: SiteTransaction): Promise<Standby[]> {
    return tx.query<Standby>(`SELECT ${STANDBY_COLUMNS} FROM standby ORDER BY workload_id`);
  }

  /**
   * Writes what has been reached, unless the row has changed since `seen` was read.
   *
   * @returns the row as it is now
   * @throws StandbyChangedError, and StandbyTransitionError for a state that cannot follow
   */
  async change(tx: SiteTransaction, seen: Standby, step: StandbyStep): Promise<Standby> {
    const state = step.state ?? seen.state;
    if (!mayBecome(seen.state, state)) throw new StandbyTransitionError(seen.state, state);
    const reason = step.reason === undefined ? (state === seen.state ? seen.stateReason : null) : step.reason;
    const values: unknown[] = [seen.workloadId, seen.version, state, reason];
    const sets = Object.entries(step.changes ?? {}).map(([name, value]) => {
      values.push(JSON_COLUMNS.has(name) && value !== null ? JSON.stringify(value) : value);
      return `${CHANGE_COLUMNS[name as keyof StandbyChanges]} = $${values.length}`;
    });
    const [row] = await tx.query<Standby>(
      `UPDATE standby SET state_since = CASE WHEN state = $3 THEN state_since ELSE clock_timestamp() END,
              state = $3, state_reason = $4, version = version + 1${sets.map((set) => `, ${set}`).join('')}
        WHERE workload_id = $1 AND version = $2 RETURNING ${STANDBY_COLUMNS}`,
      values,
    );
    if (!row) throw new StandbyChangedError(seen.workloadId);
    if (state !== seen.state || reason !== seen.stateReason) await this.tell(tx, row);
    return row;
  }

  private async tell(tx: SiteTransaction, row: Standby): Promise<void> {
    await this.outbox.emit(
      tx,
      standbyChanged,
      { tenantId: row.tenantId },
      { workloadId: row.workloadId, role: row.role, state: row.state, reason: row.stateReason },
    );
  }
}

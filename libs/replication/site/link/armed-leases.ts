import { Injectable } from '@nestjs/common';
import { armingChanged, LEASE_SECONDS } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { SiteOutbox } from '#libs/sites/site/gateway';

/**
 * Why a lease is over. `ran-out`: nothing was heard, or only that the server is down. `answered-not-armed`: the agent
 * said, until the end, that its server runs and is not armed.
 */
export type LeaseEnd = 'ran-out' | 'disarmed' | 'degraded' | 'answered-not-armed';

/** What this site may say of a workload's arming now, by the database's clock. The synchronous site alone is armed. */
export interface LeaseState {
  /** True while the lease runs: production acknowledges nothing that this site lacks. */
  readonly armed: boolean;
  /** What is left of the armed lease, in seconds; 0 when it is not armed. */
  readonly secondsLeft: number;
  /** Since when it is, or was last, armed without a break; null when it never was in this epoch. */
  readonly since: Date | null;
  /** When the last lease ended or will end; null when there never was one in this epoch. */
  readonly armedUntil: Date | null;
  /** Null while it is armed, and when it never was. */
  readonly endedBecause: LeaseEnd | null;
  /** True once the site has held a lease in this epoch. */
  readonly everArmed: boolean;
  /** Set from the grant to go on without this site until it is armed again. */
  readonly disarmedAtLsn: string | null;
  readonly disarmedAt: Date | null;
  /** Until the agent's degrade receiver has died at the latest; 0 when none can live by this site's grant. */
  readonly degradeSecondsLeft: number;
  /** A failover run forbids new leases and grants. */
  readonly refused: boolean;
  /** For how long, by the database's clock; null when it does not. */
  readonly refusedSeconds: number | null;
  /** True when the agent was armed in this epoch after it had heard "strict", and the mode was never another since. */
  readonly strictConfirmed: boolean;
  readonly epoch: number;
}

export interface DisarmRequest {
  readonly workloadId: string;
  readonly requestId: string;
  /** The agency's position at its request, or null when a person asked: the last reported one is taken. */
  readonly lsn: string | null;
  /** For how long production may go on without this site; null: until it is armed again. */
  readonly leaseSeconds: number | null;
  /** The site that is to be the synchronous one instead; none when left out. */
  readonly to?: SiteRole | undefined;
  readonly reason: string;
  /** `person` unless told: the agent's own request ends when the agent no longer makes it. */
  readonly by?: 'agent' | 'person';
}

const STATE = `
  SELECT s.epoch,
         -- No lease is longer than this: one that seems so was given before the clock was set back.
         coalesce(l.armed_until > clock_timestamp()
                  AND l.armed_until <= clock_timestamp() + interval '${LEASE_SECONDS} s', false)
           AND l.epoch = s.epoch AS armed,
         greatest(0, coalesce(extract(epoch FROM l.armed_until - clock_timestamp()), 0))::float8 AS "leaseSecondsLeft",
         CASE WHEN l.epoch = s.epoch THEN l.armed_since END AS since,
         CASE WHEN l.epoch = s.epoch THEN l.armed_until END AS "armedUntil",
         CASE WHEN l.epoch = s.epoch AND l.armed_until <= clock_timestamp()
              THEN coalesce(l.ended_because, 'ran-out') END AS "endedBecause",
         l.disarmed_at AS "disarmedAt", l.disarmed_at_lsn::text AS "disarmedAtLsn",
         greatest(0, coalesce(extract(epoch FROM l.degrade_until - clock_timestamp()), 0))::float8
           AS "degradeSecondsLeft",
         coalesce(l.refused, false) AS refused, extract(epoch FROM clock_timestamp() - l.refused_at)::float8 AS "refusedSeconds",
         coalesce(l.strict_confirmed AND l.epoch = s.epoch, false) AS "strictConfirmed"
    FROM standby s LEFT JOIN armed_lease l USING (workload_id) WHERE s.workload_id = $1`;

/** The row of a workload's lease. A new epoch begins with nothing of the one before, but a receiver that may live still. */
export const LEASE_OF_EPOCH = `
  INSERT INTO armed_lease (workload_id, epoch) SELECT workload_id, epoch FROM standby WHERE workload_id = $1
  ON CONFLICT (workload_id) DO UPDATE
    SET epoch = excluded.epoch, armed_until = NULL, armed_since = NULL, ended_because = NULL, told_armed = false,
        strict_confirmed = false, disarm_request_id = NULL, disarm_by = NULL, disarm_to = NULL, disarmed_at = NULL,
        disarmed_at_lsn = NULL, disarm_expires_at = NULL, rearm = false, grant_over = false
    WHERE armed_lease.epoch < excluded.epoch`;

type StateRow = Omit<LeaseState, 'everArmed' | 'secondsLeft'> & { readonly leaseSecondsLeft: number };

/** A grant that the control plane keeps, and for how much longer it is good. */
export interface PassedOn {
  readonly workloadId: string;
  readonly requestId: string;
  readonly leaseSeconds: number;
  readonly to: SiteRole;
}

/** The armed leases of this site's workloads. All times are the database's: one clock for both processes. */
@Injectable()
export class ArmedLeases {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly outbox: SiteOutbox,
  ) {}

  /** @throws NotFoundError when this site does not protect the workload. */
  async state(tx: SiteTransaction, workloadId: string): Promise<LeaseState> {
    const [row] = await tx.query<StateRow>(STATE, [workloadId]);
    if (!row) throw new NotFoundError('workload');
    const { leaseSecondsLeft, ...state } = row;
    return { ...state, secondsLeft: state.armed ? leaseSecondsLeft : 0, everArmed: state.armedUntil !== null };
  }

  /**
   * No lease is extended and no grant given or renewed from now on. Answers the state at that moment. Safe to repeat.
   *
   * @throws NotFoundError
   */
  async refuse(workloadId: string): Promise<LeaseState> {
    return this.work.run(async (tx) => {
      await this.ensureRow(tx, workloadId);
      await tx.execute(
        `UPDATE armed_lease SET refused = true, refused_at = clock_timestamp() WHERE workload_id = $1 AND NOT refused`,
        [workloadId],
      );
      return this.state(tx, workloadId);
    });
  }

  /** Undoes {@link refuse}, when a run was cancelled before it promoted. @throws NotFoundError */
  async allow(workloadId: string): Promise<LeaseState> {
    return this.work.run(async (tx) => {
      await tx.execute(`UPDATE armed_lease SET refused = false, refused_at = NULL WHERE workload_id = $1 AND refused`, [
        workloadId,
      ]);
      return this.state(tx, workloadId);
    });
  }

  /**
   * Records "asynchronous since LSN X": from the commit on, this site no longer believes that production is armed, and
   * the next pulse tells the agent so. Repeating a request changes nothing.
   *
   * @returns false when a run refuses leases. @throws NotFoundError
   */
  async recordDisarm(tx: SiteTransaction, request: DisarmRequest): Promise<boolean> {
    const { workloadId } = request;
    await this.ensureRow(tx, workloadId);
    const [row] = await tx.query<{ lsn: string | null; tenant_id: string; told: boolean }>(
      `UPDATE armed_lease l
          SET disarm_request_id = $2, disarmed_at = clock_timestamp(), disarm_by = $5, disarm_to = $6,
              grant_over = false, rearm = false,
              disarmed_at_lsn = coalesce(l.disarmed_at_lsn, $3::pg_lsn, report.lsn),
              disarm_expires_at = clock_timestamp() + make_interval(secs => $4::float8),
              armed_until = least(armed_until, clock_timestamp()), ended_because = 'disarmed', told_armed = false
         FROM standby s LEFT JOIN source_report report USING (workload_id)
        WHERE l.workload_id = $1 AND s.workload_id = $1 AND NOT l.refused
          AND l.disarm_request_id IS DISTINCT FROM $2::uuid
        RETURNING l.disarmed_at_lsn::text AS lsn, s.tenant_id,
                  -- A regional site that was never the synchronous one has nothing to tell of.
                  s.role = 'metro' OR (l.armed_since IS NOT NULL AND l.epoch = s.epoch) AS told`,
      [workloadId, request.requestId, request.lsn, request.leaseSeconds, request.by ?? 'person', request.to ?? null],
    );
    if (!row) return !(await this.state(tx, workloadId)).refused;
    if (!row.told) return true;
    await this.outbox.emit(
      tx,
      armingChanged,
      { tenantId: row.tenant_id },
      { workloadId, armed: false, sinceLsn: row.lsn, reason: request.reason },
    );
    return true;
  }

  /**
   * Lets the pulses carry a grant of the control plane's to an agent whose synchronous site is the other one: it counts
   * there once that one can believe nothing any more. What this site itself believes is not changed by it.
   *
   * @throws NotFoundError
   */
  async passOn(tx: SiteTransaction, { workloadId, requestId, leaseSeconds, to }: PassedOn): Promise<void> {
    await this.ensureRow(tx, workloadId);
    await tx.execute(
      `UPDATE armed_lease
          SET disarm_request_id = $2, disarm_by = 'person', disarm_to = $4, grant_over = false, rearm = false,
              disarm_expires_at = clock_timestamp() + make_interval(secs => $3::float8)
        WHERE workload_id = $1 AND NOT refused AND disarm_request_id IS DISTINCT FROM $2::uuid`,
      [workloadId, requestId, leaseSeconds, to],
    );
  }

  /**
   * Asks the agent to end its degrade receiver and arm again with the next pulses; of the regional site, to return to the
   * metro as soon as that is near. Safe to repeat.
   */
  async requestRearm(tx: SiteTransaction, workloadId: string): Promise<void> {
    await tx.execute(
      `UPDATE armed_lease l SET rearm = true FROM standby s
        WHERE l.workload_id = $1 AND s.workload_id = $1 AND NOT l.rearm
          AND (l.disarm_request_id IS NOT NULL OR s.role = 'regional')`,
      [workloadId],
    );
  }

  /**
   * The same for a record without an end, as a pause makes it. A person's grant for so many seconds is left alone: it
   * outlives a standby that was restarted meanwhile.
   */
  async rearmAfterPause(tx: SiteTransaction, workloadId: string): Promise<void> {
    await tx.execute(
      `UPDATE armed_lease SET rearm = true
        WHERE workload_id = $1 AND disarm_by = 'person' AND disarm_expires_at IS NULL AND NOT rearm`,
      [workloadId],
    );
  }

  /** How long ago, at most, the agent last said "armed" in an answer that counted; null when it never did. */
  async secondsSinceArmed(tx: SiteTransaction, workloadId: string): Promise<number | null> {
    const [row] = await tx.query<{ seconds: number | null }>(
      `SELECT extract(epoch FROM clock_timestamp() - l.armed_until)::float8 + $2 AS seconds
         FROM armed_lease l JOIN standby s USING (workload_id) WHERE workload_id = $1 AND l.epoch = s.epoch`,
      [workloadId, LEASE_SECONDS],
    );
    return row?.seconds ?? null;
  }

  /** A person's grant is over: pulses carry it no more. */
  async endGrant(tx: SiteTransaction, workloadId: string): Promise<void> {
    await tx.execute(
      `UPDATE armed_lease SET grant_over = true WHERE workload_id = $1 AND disarm_by = 'person' AND NOT grant_over`,
      [workloadId],
    );
  }

  /** The copy is made anew: what was known of the one before proves nothing. */
  async forgetCopy(tx: SiteTransaction, workloadId: string): Promise<void> {
    await tx.execute(
      `UPDATE armed_lease
          SET armed_until = least(armed_until, clock_timestamp()), armed_since = NULL, strict_confirmed = false
        WHERE workload_id = $1`,
      [workloadId],
    );
  }

  /** The mode changes: strictness proves nothing until the agent has been armed after hearing of it. */
  async forgetStrictness(tx: SiteTransaction, workloadId: string): Promise<void> {
    await tx.execute(`UPDATE armed_lease SET strict_confirmed = false WHERE workload_id = $1 AND strict_confirmed`, [
      workloadId,
    ]);
  }

  /** A lease belongs to an epoch: that of an older one says nothing about this. @throws NotFoundError */
  private async ensureRow(tx: SiteTransaction, workloadId: string): Promise<void> {
    const known = await tx.execute(LEASE_OF_EPOCH, [workloadId]);
    if (known > 0) return;
    const present = await tx.query(`SELECT FROM armed_lease WHERE workload_id = $1`, [workloadId]);
    if (present.length === 0) throw new NotFoundError('workload');
  }
}

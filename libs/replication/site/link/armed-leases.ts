import { Injectable } from '@nestjs/common';
import { NotFoundError } from '#libs/platform/errors';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';

/** What this site may say of a workload's arming now, by the database's clock. */
export interface LeaseState {
  /** True while the lease runs: production acknowledges nothing that the metro lacks. */
  readonly armed: boolean;
  /** What is left of the armed lease, in seconds; 0 when it is not armed. */
  readonly secondsLeft: number;
  /** Since when it is armed without a break; null when it is not. */
  readonly since: Date | null;
  /** When the last lease ended or will end; null when there never was one. */
  readonly armedUntil: Date | null;
  /** True once the site has ever held a lease in this epoch. */
  readonly everArmed: boolean;
  /** Set from the grant to go on without the metro until production is armed again. */
  readonly disarmedAtLsn: string | null;
  readonly disarmedAt: Date | null;
  /** Until the agent's degrade receiver has died at the latest; 0 when none can live. */
  readonly degradeSecondsLeft: number;
  /** A failover run forbids new leases and grants. */
  readonly refused: boolean;
  readonly epoch: number;
}

export interface DisarmRequest {
  readonly workloadId: string;
  readonly requestId: string;
  /** The agency's position at its request, or null when a person asked and nobody knows it. */
  readonly lsn: string | null;
  readonly leaseSeconds: number;
  readonly reason: string;
}

/** The armed leases of this site's workloads. All times are the database's: one clock for both processes. */
@Injectable()
export class ArmedLeases {
  constructor(private readonly work: SiteUnitOfWork) {}

  /** @throws NotFoundError when this site does not protect the workload. */
  async state(_tx: SiteTransaction, _workloadId: string): Promise<LeaseState> {
    throw new NotFoundError('workload');
  }

  /** No lease is extended and no grant given from now on. Answers the state at that moment. Safe to repeat. */
  async refuse(workloadId: string): Promise<LeaseState> {
    return this.work.run((tx) => this.state(tx, workloadId));
  }

  /** Undoes {@link refuse}, when a run was cancelled before it promoted. */
  async allow(workloadId: string): Promise<LeaseState> {
    return this.work.run((tx) => this.state(tx, workloadId));
  }

  /**
   * Records "asynchronous since LSN X": from the commit on, this site no longer believes that production is armed, and
   * the next pulse tells the agent so. Repeating a request changes nothing.
   *
   * @returns false when a run refuses leases.
   */
  async recordDisarm(_tx: SiteTransaction, _request: DisarmRequest): Promise<boolean> {
    return false;
  }

  /** Asks the agent to end its degrade receiver and arm again with the next pulses. */
  async requestRearm(_tx: SiteTransaction, _workloadId: string): Promise<void> {}
}

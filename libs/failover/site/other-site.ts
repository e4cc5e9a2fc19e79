import { Inject, Injectable } from '@nestjs/common';
import { peerFollow } from '#contracts/failover';
import { DomainError } from '#libs/platform/errors';
import { newPassword, quoteIdentifier, quoteLiteral, scramVerifier } from '#libs/platform/postgres';
import { slotForOther, type Standby } from '#libs/replication/site';
import { PeerSites, SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { FailoverRun } from './run.row.js';

export interface RepointAnswer {
  readonly following: boolean;
  /** Why not, for a person; null when it follows. */
  readonly reason: string | null;
}

/** The other site looks at its standby, and waits a moment for the stream. */
const FOLLOW_MS = 5_000;

/** Turns the other site's standby to the new primary here. */
@Injectable()
export class OtherSite {
  constructor(
    private readonly peers: PeerSites,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
  ) {}

  /** Safe to repeat: each time the other gets a new password, and is asked again whether it follows. */
  async repoint(run: FailoverRun, standby: Standby, signal: AbortSignal): Promise<RepointAnswer> {
    const { otherSite, promotedAtLsn, promotedTimeline } = run;
    if (!otherSite || promotedAtLsn === null || promotedTimeline === null) {
      return { following: false, reason: 'There is nothing to follow yet.' };
    }
    const slot = slotForOther(standby);
    const keptFromLsn = await this.keepingSlot(run.workloadId, slot);
    const user = standby.role === 'metro' ? run.names.regionalRole : run.names.metroRole;
    const password = newPassword();
    await this.grant(run.workloadId, user, password);
    try {
      return await this.peers.call(
        { peer: otherSite, workloadId: run.workloadId },
        peerFollow,
        {
          workloadId: run.workloadId,
          epoch: run.epoch,
          promotedAtLsn,
          promotedTimeline,
          user,
          password,
          slot,
          keptFromLsn,
        },
        { timeoutMs: FOLLOW_MS, signal },
      );
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof DomainError)) throw error;
      return { following: false, reason: error.message };
    }
  }

  /** Whether the other site's walreceiver reads its slot here now. */
  async follows(standby: Standby): Promise<boolean> {
    return (await this.slot(standby.workloadId, slotForOther(standby)))?.active ?? false;
  }

  /**
   * A slot that was lost (max_slot_wal_keep_size) or dropped keeps nothing any more: it is made anew. Answers from where
   * the slot keeps the log, by which the other site knows whether it can still follow or must be copied.
   */
  private async keepingSlot(workloadId: string, slot: string): Promise<string | undefined> {
    const present = await this.slot(workloadId, slot);
    if (present && !present.keptFrom) await this.driver.dropSlot(workloadId, slot);
    if (!present?.keptFrom) await this.driver.createSlot(workloadId, slot);
    return present?.keptFrom ?? (await this.slot(workloadId, slot))?.keptFrom ?? undefined;
  }

  private async slot(
    workloadId: string,
    slot: string,
  ): Promise<{ active: boolean; keptFrom: string | null } | undefined> {
    const client = await this.driver.connect(workloadId, 'mainstay slots');
    try {
      const { rows } = await client.query<{ active: boolean; keptFrom: string | null }>(
        `SELECT active, CASE WHEN wal_status = 'lost' THEN NULL ELSE restart_lsn END AS "keptFrom"
           FROM pg_replication_slots WHERE slot_name = $1`,
        [slot],
      );
      return rows[0];
    } finally {
      await client.end();
    }
  }

  /** The verifier is sent, not the password: the server's log and pg_stat_statements keep statements' texts. */
  private async grant(workloadId: string, user: string, password: string): Promise<void> {
    const client = await this.driver.connect(workloadId, 'mainstay repoint');
    try {
      await client.query(
        `SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = panic`,
      );
      const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [user]);
      const verb = rowCount === 0 ? 'CREATE' : 'ALTER';
      await client.query(
        `${verb} ROLE ${quoteIdentifier(user)} WITH LOGIN REPLICATION PASSWORD ${quoteLiteral(scramVerifier(password))}`,
      );
    } finally {
      await client.end();
    }
  }
}

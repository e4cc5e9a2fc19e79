import { Inject, Injectable } from '@nestjs/common';
import type { z } from 'zod';
import { peerFollow } from '#contracts/failover';
import { DomainError, errorCode } from '#libs/platform/errors';
import { newPassword, quoteIdentifier, quoteLiteral, scramVerifier } from '#libs/platform/postgres';
import { slotForOther, type Standby } from '#libs/replication/site';
import { PeerSites, SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { FailoverRun } from './runs/run.row.js';

type FollowInput = z.infer<typeof peerFollow.input>;

export interface RepointAnswer {
  readonly following: boolean;
  /** Why not, for a person; null when it follows. */
  readonly reason: string | null;
}

/** The other site looks at its standby, and waits a moment for the stream. */
const FOLLOW_MS = 5_000;

/** How a site refuses a command with a field that it does not know. */
const NOT_UNDERSTOOD = 'peer-command.malformed';

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
    const { workloadId, epoch } = run;
    const asked = { workloadId, epoch, promotedAtLsn, promotedTimeline, user, password, slot };
    const ask = (input: FollowInput) =>
      this.peers.call({ peer: otherSite, workloadId }, peerFollow, input, { timeoutMs: FOLLOW_MS, signal });
    try {
      return await ask({ ...asked, keptFromLsn }).catch((error: unknown) => {
        // A site of before does not know from where the slot keeps the log; it then finds that out by following.
        if (errorCode(error) === NOT_UNDERSTOOD) return ask(asked);
        throw error;
      });
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

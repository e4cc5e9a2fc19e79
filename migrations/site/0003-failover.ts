import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Failover runs with their steps, what the standbys' reconciler keeps, and who works on what. */
export class Failover1790000000003 implements MigrationInterface {
  name = 'Failover1790000000003';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE standby
        -- Whose work this standby is now instead of the reconciler's: a failover run here or at the other site.
        ADD COLUMN hold text,
        ADD COLUMN hold_until timestamptz,
        -- The agency's settings are to be brought in line (armed) with the next look.
        ADD COLUMN arm_wanted boolean NOT NULL DEFAULT true,
        -- The next preparation makes the slot anew: what it kept is gone, or no longer wanted.
        ADD COLUMN fresh_slot boolean NOT NULL DEFAULT true,
        -- The walreceiver is to be told anew whom to follow: after a copy, a pause, a run that was cancelled.
        ADD COLUMN follow_wanted boolean NOT NULL DEFAULT true,
        ADD COLUMN seeding_since timestamptz,
        -- From here on the agency's slot keeps WAL for this standby: a copy must not begin before it.
        ADD COLUMN slot_restart_lsn pg_lsn,
        ADD COLUMN facts_at timestamptz,
        -- What the last look of the continuous preflight found wrong, as alarms.
        ADD COLUMN findings jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN retry_at timestamptz,
        ADD COLUMN retries integer NOT NULL DEFAULT 0;

      -- What the walreceiver signs in with, apart from the standby's row, so that nothing reads it by the way. It opens
      -- no more than what this site holds anyhow, and a promotion must not need the agency for it.
      CREATE TABLE replication_credential (
        workload_id uuid PRIMARY KEY REFERENCES standby ON DELETE CASCADE,
        user_name text NOT NULL,
        password text NOT NULL
      );

      -- A claim is a row's value with an end: a process that dies loses it, and no connection is kept open for it.
      CREATE TABLE work_claim (
        key text PRIMARY KEY,
        holder uuid NOT NULL,
        host text NOT NULL,
        pid integer NOT NULL,
        until timestamptz NOT NULL
      );

      CREATE TABLE failover_run (
        id uuid PRIMARY KEY,
        workload_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        order_id uuid NOT NULL,
        declaration integer NOT NULL,
        epoch integer NOT NULL,
        names jsonb NOT NULL,
        other_site jsonb,
        no_degrade_granted boolean NOT NULL,
        accepted_loss jsonb NOT NULL,
        old_server text NOT NULL,
        -- Whom the standby followed before, to be restored when the run is cancelled.
        followed text NOT NULL,
        state text NOT NULL CHECK (state IN
          ('accepted', 'running', 'awaiting-confirmation', 'cancelling', 'cancelled', 'completed', 'failed')),
        reason text,
        received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        loss jsonb,
        -- Until when the statement of loss holds: a lease's end. Null when time cannot change it.
        loss_until timestamptz,
        -- What this standby had once its receiver was stopped, and what the other site had.
        own_lsn pg_lsn,
        other_lsn pg_lsn,
        other_answered boolean,
        fenced_lsn pg_lsn,
        fenced boolean,
        promote_began_at timestamptz,
        promoted_at_lsn pg_lsn,
        promoted_timeline integer,
        first_write_at timestamptz,
        front_door jsonb,
        -- The other site: still to be turned to the new primary after the run's end.
        repoint text NOT NULL DEFAULT 'none' CHECK (repoint IN ('none', 'pending', 'done')),
        event_number integer NOT NULL DEFAULT 0
      );
      CREATE UNIQUE INDEX failover_run_open ON failover_run (workload_id)
        WHERE state IN ('accepted', 'running', 'awaiting-confirmation', 'cancelling');
      CREATE INDEX failover_run_repoint ON failover_run (workload_id) WHERE repoint = 'pending';

      CREATE TABLE failover_step (
        run_id uuid NOT NULL REFERENCES failover_run ON DELETE CASCADE,
        step text NOT NULL,
        state text NOT NULL CHECK (state IN ('started', 'done', 'skipped', 'retrying', 'failed')),
        attempt integer NOT NULL DEFAULT 1,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at timestamptz,
        message text NOT NULL DEFAULT '',
        evidence jsonb NOT NULL DEFAULT '{}',
        PRIMARY KEY (run_id, step)
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE failover_step, failover_run, work_claim, replication_credential;
      ALTER TABLE standby DROP COLUMN hold, DROP COLUMN hold_until, DROP COLUMN arm_wanted, DROP COLUMN fresh_slot,
        DROP COLUMN follow_wanted, DROP COLUMN seeding_since, DROP COLUMN slot_restart_lsn, DROP COLUMN facts_at, DROP COLUMN findings,
        DROP COLUMN retry_at, DROP COLUMN retries;
    `);
  }
}

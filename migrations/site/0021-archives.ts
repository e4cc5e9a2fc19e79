import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a site archives for whom: runs, recovery points and their proof, keys, restores, suspected mass changes, copies. */
export class Archives1790000000021 implements MigrationInterface {
  name = 'Archives1790000000021';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- The repository in the vault has the archive's id.
      CREATE TABLE archive (
        archive_id uuid PRIMARY KEY REFERENCES vault_repository,
        tenant_id uuid NOT NULL,
        workload_id uuid NOT NULL,
        agent_id uuid NOT NULL,
        workload_name text NOT NULL,
        source text NOT NULL,
        key_mode text NOT NULL,
        state text NOT NULL,
        policy jsonb NOT NULL,
        paused boolean NOT NULL DEFAULT false,
        second jsonb,
        failure jsonb,
        -- What people must know of, as it was told last.
        alarms jsonb NOT NULL DEFAULT '[]',
        next_run_at timestamptz,
        -- Whose the repository is just now: one run, restore of the agent's, or maintenance at a time.
        work_id uuid,
        work_kind text,
        -- Of work that this site's process does itself, and renews while it lives: then anybody may take it.
        work_until timestamptz,
        pruned_at timestamptz,
        retention_at timestamptz,
        keys_rotated_at timestamptz,
        -- New passwords are wanted, as soon as the repository is free.
        rotation_id uuid,
        retry_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        version integer NOT NULL DEFAULT 1
      );
      CREATE UNIQUE INDEX archive_workload ON archive (workload_id) WHERE state <> 'ended';

      -- Passwords of the repository, sealed; restic knows each by the id of its key file.
      CREATE TABLE archive_key (
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        key_id uuid NOT NULL,
        holder text NOT NULL CHECK (holder IN ('site', 'agent')),
        sealed bytea NOT NULL,
        -- Under which key-encryption key.
        sealed_by text NOT NULL,
        -- Null until the repository has it.
        restic_key text,
        created_at timestamptz NOT NULL DEFAULT now(),
        retired_at timestamptz,
        PRIMARY KEY (archive_id, key_id)
      );
      CREATE TABLE archive_key_use (
        use_id uuid PRIMARY KEY,
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        purpose text NOT NULL,
        at timestamptz NOT NULL DEFAULT now()
      );
      CREATE INDEX archive_key_use_archive ON archive_key_use (archive_id, at DESC);

      CREATE TABLE archive_run (
        run_id uuid PRIMARY KEY,
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        cause text NOT NULL CHECK (cause IN ('schedule', 'request')),
        state text NOT NULL,
        due_at timestamptz NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        -- When the agent last said how far it is.
        seen_at timestamptz,
        cancel_wanted boolean NOT NULL DEFAULT false,
        credential_id uuid,
        -- How often the agent was told to begin; and with which bandwidth it did, in bytes a second.
        begun integer NOT NULL DEFAULT 0,
        begun_limit bigint,
        -- What the repository took before, in bytes.
        stored_before bigint,
        -- What is compared with other runs to find an unusual change; null until it was looked at.
        measures jsonb,
        progress jsonb,
        result jsonb,
        failure jsonb,
        version integer NOT NULL DEFAULT 1
      );
      CREATE INDEX archive_run_unfinished ON archive_run (archive_id) WHERE ended_at IS NULL OR credential_id IS NOT NULL;
      CREATE INDEX archive_run_archive ON archive_run (archive_id, due_at DESC);
      CREATE UNIQUE INDEX archive_run_open ON archive_run (archive_id) WHERE state = 'running';

      CREATE TABLE archive_point (
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        snapshot_id text NOT NULL,
        run_id uuid,
        part text,
        received_at timestamptz NOT NULL,
        claimed_at timestamptz NOT NULL,
        clock_differs boolean NOT NULL DEFAULT false,
        files bigint,
        bytes bigint,
        bytes_added_packed bigint,
        change jsonb,
        proof jsonb NOT NULL,
        proof_state text NOT NULL DEFAULT 'never',
        proven_at timestamptz,
        proof_tries integer NOT NULL DEFAULT 0,
        -- Of a proven dump: how many rows each table had.
        row_counts jsonb,
        held_because text,
        pinned boolean NOT NULL DEFAULT false,
        forgotten_at timestamptz,
        forgotten_because text,
        PRIMARY KEY (archive_id, snapshot_id)
      );
      CREATE INDEX archive_point_received ON archive_point (archive_id, received_at DESC);
      CREATE INDEX archive_point_unproven ON archive_point (proof_state, received_at DESC) WHERE forgotten_at IS NULL;

      CREATE TABLE archive_restore (
        restore_id uuid PRIMARY KEY,
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        wish jsonb NOT NULL,
        state text NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        seen_at timestamptz,
        cancel_wanted boolean NOT NULL DEFAULT false,
        credential_id uuid,
        begun integer NOT NULL DEFAULT 0,
        begun_limit bigint,
        progress jsonb,
        result jsonb,
        failure jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        version integer NOT NULL DEFAULT 1
      );
      CREATE INDEX archive_restore_unfinished ON archive_restore (archive_id)
        WHERE ended_at IS NULL OR credential_id IS NOT NULL;
      CREATE INDEX archive_restore_open ON archive_restore (archive_id) WHERE ended_at IS NULL;

      CREATE TABLE archive_change (
        change_id uuid PRIMARY KEY,
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        run_id uuid,
        state text NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        signals jsonb NOT NULL,
        paths jsonb NOT NULL DEFAULT '[]',
        last_good text,
        judged_at timestamptz
      );
      CREATE INDEX archive_change_archive ON archive_change (archive_id, at DESC);

      CREATE TABLE archive_drop (
        drop_id uuid PRIMARY KEY,
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        snapshot_id text NOT NULL,
        asked text NOT NULL,
        approved text NOT NULL,
        state text NOT NULL DEFAULT 'waiting',
        at timestamptz NOT NULL DEFAULT now()
      );

      -- The rota of checks: one part of so many, so that all bytes are read in 30 days.
      CREATE TABLE archive_check (
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        part integer NOT NULL,
        of integer NOT NULL,
        checked_at timestamptz NOT NULL,
        bytes bigint NOT NULL,
        failure jsonb,
        PRIMARY KEY (archive_id, of, part)
      );
      CREATE TABLE archive_damage (
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        object text NOT NULL,
        found_at timestamptz NOT NULL DEFAULT now(),
        repaired_at timestamptz,
        PRIMARY KEY (archive_id, object)
      );

      -- How the second copy at the other site stands, as the first site sees it.
      CREATE TABLE archive_copy (
        archive_id uuid PRIMARY KEY REFERENCES archive ON DELETE CASCADE,
        complete_until timestamptz,
        missing_objects integer NOT NULL DEFAULT 0,
        missing_bytes bigint NOT NULL DEFAULT 0,
        looked_at timestamptz,
        failure jsonb,
        retry_at timestamptz
      );
      -- What this site keeps for another one.
      CREATE TABLE archive_kept_copy (
        archive_id uuid PRIMARY KEY REFERENCES vault_repository,
        tenant_id uuid NOT NULL,
        workload_id uuid NOT NULL,
        first jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
      );

      -- Up to when stored bytes were told to billing, and what was held since.
      CREATE TABLE archive_stored (
        archive_id uuid PRIMARY KEY REFERENCES archive ON DELETE CASCADE,
        bytes bigint NOT NULL,
        since timestamptz NOT NULL
      );

      -- The newest point of a folder, laid out at this site, so that a failover finds the files there.
      CREATE TABLE archive_standing (
        archive_id uuid PRIMARY KEY REFERENCES archive ON DELETE CASCADE,
        path text NOT NULL,
        snapshot_id text,
        received_at timestamptz,
        restored_at timestamptz,
        failure jsonb,
        retry_at timestamptz
      );

      CREATE TABLE archive_exit (
        exit_id uuid PRIMARY KEY,
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        until timestamptz NOT NULL,
        credential_id uuid,
        handed_at timestamptz
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE archive_exit, archive_standing, archive_stored, archive_kept_copy, archive_copy, archive_damage, archive_check, archive_drop,
        archive_change, archive_restore, archive_point, archive_run, archive_key_use, archive_key, archive;
    `);
  }
}

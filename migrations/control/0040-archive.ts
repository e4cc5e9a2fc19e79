import type { MigrationInterface, QueryRunner } from 'typeorm';

const TABLES = [
  'archive',
  'archive_run',
  'recovery_point',
  'archive_hold',
  'archive_restore',
  'mass_change',
  'drop_request',
  'archive_key_use',
  'usage_fact',
];

/**
 * Archives, as the control plane knows them: what was asked for, and what the sites told of runs, recovery points,
 * restores, suspected mass changes and keys. And the ledger of usage.
 */
export class Archive1790000000040 implements MigrationInterface {
  name = 'Archive1790000000040';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE workload DROP CONSTRAINT workload_kind_check;
      ALTER TABLE workload ADD CONSTRAINT workload_kind_check CHECK (kind IN ('postgresql', 'files', 'command'));

      CREATE TABLE archive (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        workload_id uuid NOT NULL,
        agent_id uuid NOT NULL,
        site_id uuid NOT NULL REFERENCES site,
        second_site_id uuid REFERENCES site,
        source text NOT NULL CHECK (source IN ('files', 'postgresql', 'command')),
        key_mode text NOT NULL CHECK (key_mode IN ('escrowed', 'customer-held')),
        state text NOT NULL,
        policy jsonb NOT NULL,
        -- Of the schedule, for the look at what is late.
        period_seconds integer NOT NULL,
        paused boolean NOT NULL DEFAULT false,
        warnings jsonb NOT NULL DEFAULT '[]',
        -- As the site told last.
        failure jsonb,
        stored_bytes bigint,
        next_run_at timestamptz,
        retention_paused text,
        copy jsonb,
        checked_share double precision,
        damaged jsonb NOT NULL DEFAULT '[]',
        keys_rotated_at timestamptz,
        alarms jsonb NOT NULL DEFAULT '[]',
        standing jsonb,
        reported_at timestamptz,
        -- The newest end of a run that left a recovery point, and since when one is expected.
        completed_at timestamptz,
        expected_since timestamptz NOT NULL DEFAULT now(),
        -- When people were last told; null again once it is over.
        late_told_at timestamptz,
        silent_told_at timestamptz,
        copy_told_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        ended_at timestamptz,
        version integer NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id),
        FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, id),
        CHECK (second_site_id <> site_id)
      );
      CREATE UNIQUE INDEX archive_one ON archive (tenant_id, workload_id) WHERE ended_at IS NULL;
      CREATE INDEX archive_newest ON archive (tenant_id, created_at DESC, id DESC);
      CREATE INDEX archive_site ON archive (site_id) WHERE ended_at IS NULL;

      CREATE TABLE archive_run (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        archive_id uuid NOT NULL,
        cause text NOT NULL CHECK (cause IN ('schedule', 'request')),
        state text NOT NULL,
        due_at timestamptz NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        progress jsonb,
        summary jsonb,
        snapshot_ids text[] NOT NULL DEFAULT '{}',
        fault_count integer NOT NULL DEFAULT 0,
        faults jsonb NOT NULL DEFAULT '[]',
        failure jsonb,
        -- Rises with each word about it: the events of a stream are numbered by it.
        version integer NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, archive_id) REFERENCES archive (tenant_id, id)
      );
      CREATE INDEX archive_run_newest ON archive_run (tenant_id, archive_id, due_at DESC, id DESC);

      CREATE TABLE recovery_point (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        archive_id uuid NOT NULL,
        snapshot_id text NOT NULL,
        run_id uuid,
        part text,
        received_at timestamptz NOT NULL,
        claimed_at timestamptz NOT NULL,
        clock_differs boolean NOT NULL,
        files bigint,
        bytes bigint,
        bytes_added_packed bigint,
        change jsonb,
        proof jsonb NOT NULL,
        held_because text,
        pinned boolean NOT NULL,
        forgotten_at timestamptz,
        forgotten_because text,
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, archive_id, snapshot_id),
        FOREIGN KEY (tenant_id, archive_id) REFERENCES archive (tenant_id, id)
      );
      CREATE INDEX recovery_point_newest ON recovery_point (tenant_id, archive_id, received_at DESC, id DESC);

      -- Who had a recovery point held, and who lifted it: kept after both.
      CREATE TABLE archive_hold (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        point_id uuid NOT NULL,
        because text NOT NULL,
        held_by jsonb NOT NULL,
        held_at timestamptz NOT NULL DEFAULT now(),
        lifted_by jsonb,
        lifted_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, point_id) REFERENCES recovery_point (tenant_id, id)
      );
      CREATE UNIQUE INDEX archive_hold_one ON archive_hold (tenant_id, point_id) WHERE lifted_at IS NULL;

      CREATE TABLE archive_restore (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        archive_id uuid NOT NULL,
        point_id uuid NOT NULL,
        paths jsonb NOT NULL,
        target jsonb NOT NULL,
        overwrite text NOT NULL,
        asked_by jsonb NOT NULL,
        state text NOT NULL,
        started_at timestamptz,
        ended_at timestamptz,
        progress jsonb,
        files_restored bigint NOT NULL DEFAULT 0,
        files_skipped bigint NOT NULL DEFAULT 0,
        bytes_restored bigint NOT NULL DEFAULT 0,
        fault_count integer NOT NULL DEFAULT 0,
        faults jsonb NOT NULL DEFAULT '[]',
        failure jsonb,
        -- The agent's: where a dump lies, and how it is loaded.
        note text,
        created_at timestamptz NOT NULL DEFAULT now(),
        version integer NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, archive_id) REFERENCES archive (tenant_id, id),
        FOREIGN KEY (tenant_id, point_id) REFERENCES recovery_point (tenant_id, id)
      );
      CREATE INDEX archive_restore_newest ON archive_restore (tenant_id, created_at DESC, id DESC);

      CREATE TABLE mass_change (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        archive_id uuid NOT NULL,
        run_id uuid,
        state text NOT NULL,
        at timestamptz NOT NULL,
        signals jsonb NOT NULL,
        paths jsonb NOT NULL,
        last_good text,
        -- The first of the two people who release it, and whose word went to the site.
        release_asked_by jsonb,
        release_asked_at timestamptz,
        verdict text CHECK (verdict IN ('false-positive', 'dealt-with')),
        verdict_by jsonb,
        verdict_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, archive_id) REFERENCES archive (tenant_id, id)
      );
      CREATE INDEX mass_change_newest ON mass_change (tenant_id, archive_id, at DESC, id DESC);

      CREATE TABLE drop_request (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        point_id uuid NOT NULL,
        because text NOT NULL,
        state text NOT NULL,
        asked_by jsonb NOT NULL,
        asked_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        approved_by jsonb,
        approved_at timestamptz,
        failure jsonb,
        finished_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, point_id) REFERENCES recovery_point (tenant_id, id)
      );
      CREATE UNIQUE INDEX drop_request_one ON drop_request (tenant_id, point_id) WHERE state IN ('asked', 'approved');
      CREATE INDEX drop_request_point ON drop_request (tenant_id, point_id, asked_at DESC);

      -- Each opening of a key of the repository at the site, and for what.
      CREATE TABLE archive_key_use (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        archive_id uuid NOT NULL,
        purpose text NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, archive_id) REFERENCES archive (tenant_id, id)
      );
      CREATE INDEX archive_key_use_newest ON archive_key_use (tenant_id, archive_id, at DESC, id DESC);

      -- The ledger: what was used of what, at a moment (from = to) or held over a time. Never altered.
      CREATE TABLE usage_fact (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL,
        kind text NOT NULL,
        subject_id uuid NOT NULL,
        site_id uuid REFERENCES site,
        amount numeric(20) NOT NULL CHECK (amount >= 0),
        from_at timestamptz NOT NULL,
        to_at timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id),
        CHECK (from_at <= to_at)
      );
      CREATE INDEX usage_fact_kind ON usage_fact (tenant_id, kind, subject_id, site_id, to_at);
      CREATE TRIGGER never_altered BEFORE UPDATE OR DELETE ON usage_fact
        FOR EACH ROW EXECUTE FUNCTION never_altered();
      CREATE TRIGGER never_emptied BEFORE TRUNCATE ON usage_fact EXECUTE FUNCTION never_altered();

      -- Says only "look", by a hash that nobody can read an id from: see 0024.
      CREATE FUNCTION tell_archive_work() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_notify('archive_work', encode(sha256(convert_to(NEW.id::text, 'UTF8')), 'hex'));
        RETURN NULL;
      END $$;
      REVOKE ALL ON FUNCTION tell_archive_work FROM PUBLIC;
      CREATE TRIGGER tell_archive_work AFTER INSERT OR UPDATE ON archive_run
        FOR EACH ROW EXECUTE FUNCTION tell_archive_work();
      CREATE TRIGGER tell_archive_work AFTER INSERT OR UPDATE ON archive_restore
        FOR EACH ROW EXECUTE FUNCTION tell_archive_work();
    `);
    for (const table of TABLES) {
      await runner.query(`
        ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE ${table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY provider_all ON ${table} TO mainstay_provider USING (true) WITH CHECK (true);
        CREATE POLICY tenant_own ON ${table} TO mainstay_tenant
          USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid)
          WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
        GRANT SELECT ON ${table} TO mainstay_tenant, mainstay_provider;
      `);
    }
    await runner.query(`
      GRANT INSERT, UPDATE ON archive TO mainstay_tenant;
      GRANT INSERT ON archive_run, archive_hold, archive_restore, drop_request TO mainstay_tenant;
      GRANT UPDATE ON archive_hold, drop_request TO mainstay_tenant;
      -- What an agency says of a suspected change; what was seen of it is the site's to say.
      GRANT UPDATE (release_asked_by, release_asked_at, verdict, verdict_by, verdict_at) ON mass_change TO mainstay_tenant;
      GRANT UPDATE ON archive, archive_restore, drop_request TO mainstay_provider;
      GRANT INSERT, UPDATE ON archive_run, recovery_point, mass_change TO mainstay_provider;
      GRANT INSERT ON archive_key_use, usage_fact TO mainstay_provider;
    `);
  }

  /** Workloads of the new kinds stay: whoever goes back removes them first, or the check refuses it. */
  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE usage_fact, archive_key_use, drop_request, mass_change, archive_restore, archive_hold, recovery_point,
        archive_run, archive;
      DROP FUNCTION tell_archive_work;
      ALTER TABLE workload DROP CONSTRAINT workload_kind_check;
      ALTER TABLE workload ADD CONSTRAINT workload_kind_check CHECK (kind IN ('postgresql'));
    `);
  }
}

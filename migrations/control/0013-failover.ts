import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Declarations, which are never altered, and the runs that carry them out. */
export class Failover1790000000013 implements MigrationInterface {
  name = 'Failover1790000000013';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE declaration_counter (
        tenant_id uuid PRIMARY KEY,
        last integer NOT NULL
      );
      CREATE TABLE declaration (
        tenant_id uuid NOT NULL,
        number integer NOT NULL,
        id uuid NOT NULL UNIQUE,
        workload_id uuid NOT NULL,
        site_id uuid NOT NULL REFERENCES site,
        reason text NOT NULL,
        accepted_loss jsonb NOT NULL,
        old_server text NOT NULL,
        -- What was known when it was declared: the newest measurements, kept as they were.
        known jsonb NOT NULL,
        declared_by jsonb NOT NULL,
        declared_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, number),
        UNIQUE (tenant_id, id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id)
      );
      -- What a person added to a declaration later on: confirmations, never changes.
      CREATE TABLE declaration_addition (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        declaration_id uuid NOT NULL,
        kind text NOT NULL CHECK (kind IN ('confirm', 'cancel')),
        accepted_loss jsonb,
        old_server text,
        said_by jsonb NOT NULL,
        said_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, declaration_id) REFERENCES declaration (tenant_id, id)
      );
      CREATE INDEX declaration_addition_of ON declaration_addition (tenant_id, declaration_id, said_at);
      CREATE FUNCTION never_altered() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'a % is never altered', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$;
      CREATE TRIGGER never_altered BEFORE UPDATE OR DELETE ON declaration
        FOR EACH ROW EXECUTE FUNCTION never_altered();
      CREATE TRIGGER never_altered BEFORE UPDATE OR DELETE ON declaration_addition
        FOR EACH ROW EXECUTE FUNCTION never_altered();
      CREATE TRIGGER never_emptied BEFORE TRUNCATE ON declaration EXECUTE FUNCTION never_altered();
      CREATE TRIGGER never_emptied BEFORE TRUNCATE ON declaration_addition EXECUTE FUNCTION never_altered();

      CREATE TABLE failover_run (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        workload_id uuid NOT NULL,
        declaration_id uuid NOT NULL,
        declaration_number integer NOT NULL,
        site_id uuid NOT NULL REFERENCES site,
        order_id uuid NOT NULL,
        epoch integer NOT NULL,
        state text NOT NULL,
        state_reason text,
        report jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id),
        FOREIGN KEY (tenant_id, declaration_id) REFERENCES declaration (tenant_id, id)
      );
      CREATE UNIQUE INDEX failover_run_one_open ON failover_run (tenant_id, workload_id)
        WHERE state NOT IN ('cancelled', 'completed', 'failed');
      CREATE UNIQUE INDEX failover_run_epoch ON failover_run (tenant_id, workload_id, epoch);
      CREATE INDEX failover_run_newest ON failover_run (tenant_id, created_at DESC);

      CREATE TABLE run_event (
        tenant_id uuid NOT NULL,
        run_id uuid NOT NULL,
        number integer NOT NULL,
        at timestamptz NOT NULL,
        state text NOT NULL,
        step text,
        step_state text,
        attempt integer,
        message text NOT NULL,
        evidence jsonb NOT NULL,
        PRIMARY KEY (tenant_id, run_id, number),
        FOREIGN KEY (tenant_id, run_id) REFERENCES failover_run (tenant_id, id)
      );
      -- Says only "look": whoever hears it reads the rows under its own tenant.
      CREATE FUNCTION tell_run() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_notify('failover_run', CASE TG_TABLE_NAME WHEN 'run_event' THEN to_jsonb(NEW)->>'run_id' ELSE to_jsonb(NEW)->>'id' END);
        RETURN NULL;
      END $$;
      CREATE TRIGGER tell_run AFTER INSERT ON run_event FOR EACH ROW EXECUTE FUNCTION tell_run();
      CREATE TRIGGER tell_run AFTER UPDATE ON failover_run FOR EACH ROW EXECUTE FUNCTION tell_run();
    `);
    const tables = ['declaration_counter', 'declaration', 'declaration_addition', 'failover_run', 'run_event'];
    for (const table of tables) {
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
      GRANT INSERT, UPDATE ON declaration_counter TO mainstay_tenant;
      GRANT INSERT ON declaration, declaration_addition, failover_run TO mainstay_tenant;
      GRANT UPDATE ON failover_run TO mainstay_tenant, mainstay_provider;
      GRANT INSERT ON run_event TO mainstay_provider;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE run_event, failover_run, declaration_addition, declaration, declaration_counter;
      DROP FUNCTION never_altered, tell_run;
    `);
  }
}

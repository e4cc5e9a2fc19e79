import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Preflights, protections, what the sites measure of them, and a person's grants to degrade. */
export class Replication1790000000012 implements MigrationInterface {
  name = 'Replication1790000000012';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE preflight (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        workload_id uuid NOT NULL,
        site_id uuid NOT NULL REFERENCES site,
        order_id uuid NOT NULL,
        state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'passed', 'blocked', 'failed')),
        report jsonb,
        failure jsonb,
        requested_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id)
      );
      CREATE INDEX preflight_workload ON preflight (tenant_id, workload_id, requested_at DESC);

      CREATE TABLE protection (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL UNIQUE,
        workload_id uuid NOT NULL,
        agent_id uuid NOT NULL,
        state text NOT NULL,
        mode text NOT NULL CHECK (mode IN ('strict', 'available')),
        metro_site_id uuid REFERENCES site,
        regional_site_id uuid REFERENCES site,
        names jsonb NOT NULL,
        bandwidth_bytes_per_second bigint,
        paused boolean NOT NULL DEFAULT false,
        reboot_until timestamptz,
        warnings jsonb NOT NULL DEFAULT '[]',
        -- Sites that still have to say that nothing is left there.
        removing_at uuid[] NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT now(),
        removed_at timestamptz,
        version integer NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id),
        FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, id),
        CHECK (metro_site_id IS NOT NULL OR regional_site_id IS NOT NULL)
      );
      CREATE UNIQUE INDEX protection_one ON protection (tenant_id, workload_id) WHERE removed_at IS NULL;

      -- The newest measurement by workload and site; not durable, the newest counts.
      CREATE TABLE standby_health (
        tenant_id uuid NOT NULL,
        workload_id uuid NOT NULL,
        site_id uuid NOT NULL REFERENCES site,
        received_at timestamptz NOT NULL,
        -- The site's own clock when it measured: ages inside the snapshot are counted from it.
        measured_at timestamptz NOT NULL,
        health jsonb NOT NULL,
        PRIMARY KEY (tenant_id, workload_id, site_id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id)
      );

      CREATE TABLE protection_event (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        workload_id uuid NOT NULL,
        site_id uuid NOT NULL REFERENCES site,
        kind text NOT NULL,
        payload jsonb NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id)
      );
      CREATE INDEX protection_event_workload ON protection_event (tenant_id, workload_id, at DESC);

      CREATE TABLE degrade_grant (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        workload_id uuid NOT NULL,
        epoch integer NOT NULL,
        kind text NOT NULL CHECK (kind IN ('degrade', 'rearm')),
        seconds integer,
        reason text NOT NULL,
        granted_by text NOT NULL,
        granted_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, workload_id) REFERENCES workload (tenant_id, id)
      );
      CREATE INDEX degrade_grant_epoch ON degrade_grant (tenant_id, workload_id, epoch);
    `);
    for (const table of ['preflight', 'protection', 'standby_health', 'protection_event', 'degrade_grant']) {
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
      GRANT INSERT ON preflight, protection, degrade_grant TO mainstay_tenant;
      GRANT UPDATE ON protection TO mainstay_tenant;
      GRANT UPDATE ON preflight, protection TO mainstay_provider;
      GRANT INSERT, UPDATE, DELETE ON standby_health TO mainstay_provider;
      GRANT INSERT ON protection_event TO mainstay_provider;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE degrade_grant, protection_event, standby_health, protection, preflight`);
  }
}

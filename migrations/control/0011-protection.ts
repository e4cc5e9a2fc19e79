import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Essential functions and the workloads that serve them. */
export class Protection1790000000011 implements MigrationInterface {
  name = 'Protection1790000000011';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE essential_function (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL UNIQUE,
        name text NOT NULL,
        mtd_seconds integer NOT NULL CHECK (mtd_seconds > 0),
        rto_seconds integer NOT NULL CHECK (rto_seconds > 0),
        rpo_seconds integer NOT NULL CHECK (rpo_seconds >= 0),
        priority integer NOT NULL CHECK (priority BETWEEN 1 AND 100),
        created_at timestamptz NOT NULL DEFAULT now(),
        version integer NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, id),
        CHECK (rto_seconds < mtd_seconds)
      );
      CREATE UNIQUE INDEX essential_function_name ON essential_function (tenant_id, lower(name));

      CREATE TABLE workload (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL UNIQUE,
        kind text NOT NULL CHECK (kind IN ('postgresql')),
        name text NOT NULL,
        agent_id uuid NOT NULL,
        function_id uuid,
        latitude double precision,
        longitude double precision,
        client_host text,
        client_port integer,
        -- The fencing epoch in force; it rises with every promotion and never falls.
        epoch integer NOT NULL DEFAULT 1,
        -- Where production runs: null is the agency.
        active_site_id uuid REFERENCES site,
        created_at timestamptz NOT NULL DEFAULT now(),
        removed_at timestamptz,
        version integer NOT NULL DEFAULT 1,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, id),
        FOREIGN KEY (tenant_id, function_id) REFERENCES essential_function (tenant_id, id)
      );
      CREATE UNIQUE INDEX workload_name ON workload (tenant_id, agent_id, name) WHERE removed_at IS NULL;
      CREATE INDEX workload_function ON workload (tenant_id, function_id);
    `);
    for (const table of ['essential_function', 'workload']) {
      await runner.query(`
        ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE ${table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY provider_all ON ${table} TO mainstay_provider USING (true) WITH CHECK (true);
        CREATE POLICY tenant_own ON ${table} TO mainstay_tenant
          USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid)
          WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
        GRANT SELECT, INSERT, UPDATE ON ${table} TO mainstay_tenant, mainstay_provider;
      `);
    }
    await runner.query(`GRANT DELETE ON essential_function TO mainstay_tenant`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE workload, essential_function`);
  }
}

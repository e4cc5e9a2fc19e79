import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Warm sites, what they are asked and what they answered, agents and their enrolment. */
export class Sites1790000000010 implements MigrationInterface {
  name = 'Sites1790000000010';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE site (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        region text NOT NULL,
        latitude double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
        longitude double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180),
        hazard_zones text[] NOT NULL,
        capacity jsonb NOT NULL,
        order_host text NOT NULL,
        order_port integer NOT NULL,
        order_certificate_fingerprint text NOT NULL,
        gateway_host text NOT NULL,
        gateway_port integer NOT NULL,
        gateway_certificate_fingerprint text NOT NULL,
        public_key text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        retired_at timestamptz,
        version integer NOT NULL DEFAULT 1
      );
      CREATE UNIQUE INDEX site_name ON site (lower(name)) WHERE retired_at IS NULL;
      ALTER TABLE site ENABLE ROW LEVEL SECURITY;
      ALTER TABLE site FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON site TO mainstay_provider USING (true) WITH CHECK (true);
      CREATE POLICY tenant_reads ON site FOR SELECT TO mainstay_tenant USING (true);
      GRANT SELECT, INSERT, UPDATE ON site TO mainstay_provider;
      -- Not the order endpoint and not the capacity: those are the provider's own.
      GRANT SELECT (id, name, region, latitude, longitude, hazard_zones, gateway_host, gateway_port,
                    gateway_certificate_fingerprint, public_key, retired_at) ON site TO mainstay_tenant;

      CREATE TABLE site_state (
        site_id uuid PRIMARY KEY REFERENCES site,
        result_seq bigint NOT NULL DEFAULT 0,
        leader uuid,
        leader_until timestamptz,
        received_at timestamptz,
        snapshot_at timestamptz,
        capacity jsonb,
        last_error text
      );
      ALTER TABLE site_state ENABLE ROW LEVEL SECURITY;
      ALTER TABLE site_state FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON site_state TO mainstay_provider USING (true) WITH CHECK (true);
      CREATE POLICY tenant_reads ON site_state FOR SELECT TO mainstay_tenant USING (true);
      GRANT SELECT, INSERT, UPDATE, DELETE ON site_state TO mainstay_provider;
      GRANT SELECT (site_id, received_at, snapshot_at) ON site_state TO mainstay_tenant;

      CREATE TABLE unapplied_result (
        site_id uuid NOT NULL REFERENCES site,
        seq bigint NOT NULL,
        kind text NOT NULL,
        tenant_id uuid,
        payload jsonb NOT NULL,
        reason text NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (site_id, seq)
      );
      ALTER TABLE unapplied_result ENABLE ROW LEVEL SECURITY;
      ALTER TABLE unapplied_result FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON unapplied_result TO mainstay_provider USING (true) WITH CHECK (true);
      GRANT SELECT, INSERT, DELETE ON unapplied_result TO mainstay_provider;

      CREATE SEQUENCE outgoing_order_number;
      GRANT USAGE ON SEQUENCE outgoing_order_number TO mainstay_tenant, mainstay_provider;
      CREATE TABLE outgoing_order (
        id uuid PRIMARY KEY,
        site_id uuid NOT NULL REFERENCES site,
        number bigint NOT NULL UNIQUE,
        kind text NOT NULL,
        tenant_id uuid,
        payload jsonb NOT NULL,
        issued_at timestamptz NOT NULL,
        signature text NOT NULL,
        state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'done', 'failed')),
        attempts integer NOT NULL DEFAULT 0,
        last_error text,
        delivered_at timestamptz,
        finished_at timestamptz
      );
      CREATE INDEX outgoing_order_open ON outgoing_order (site_id, number) WHERE state = 'pending';
      CREATE INDEX outgoing_order_tenant ON outgoing_order (tenant_id, number);
      ALTER TABLE outgoing_order ENABLE ROW LEVEL SECURITY;
      ALTER TABLE outgoing_order FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON outgoing_order TO mainstay_provider USING (true) WITH CHECK (true);
      CREATE POLICY tenant_own ON outgoing_order TO mainstay_tenant
        USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid)
        WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
      GRANT SELECT, INSERT, UPDATE ON outgoing_order TO mainstay_provider;
      GRANT SELECT, INSERT, UPDATE (state, last_error, finished_at) ON outgoing_order TO mainstay_tenant;

      CREATE TABLE enrolment_token (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL,
        name text NOT NULL,
        token_hash text NOT NULL UNIQUE,
        latitude double precision,
        longitude double precision,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        agent_id uuid,
        revoked_at timestamptz,
        PRIMARY KEY (tenant_id, id)
      );
      CREATE TABLE agent (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL UNIQUE,
        name text NOT NULL,
        hostname text NOT NULL,
        version text NOT NULL,
        public_key text NOT NULL,
        latitude double precision,
        longitude double precision,
        enrolled_at timestamptz NOT NULL DEFAULT now(),
        revoked_at timestamptz,
        PRIMARY KEY (tenant_id, id)
      );
      CREATE TABLE agent_site (
        tenant_id uuid NOT NULL,
        agent_id uuid NOT NULL,
        site_id uuid NOT NULL REFERENCES site,
        -- Measured by the site: null until the agent's first link there.
        round_trip_milliseconds double precision,
        connected_since timestamptz,
        seen_at timestamptz,
        duplicate_at timestamptz,
        PRIMARY KEY (tenant_id, agent_id, site_id),
        FOREIGN KEY (tenant_id, agent_id) REFERENCES agent (tenant_id, id)
      );
      CREATE INDEX agent_site_site ON agent_site (site_id, agent_id);
    `);
    for (const table of ['enrolment_token', 'agent', 'agent_site']) {
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
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE agent_site, agent, enrolment_token, outgoing_order, unapplied_result, site_state, site;
      DROP SEQUENCE outgoing_order_number;
    `);
  }
}

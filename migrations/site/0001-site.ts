import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A warm site's own database: orders, results, agents, standbys, leases, front doors. It knows one site only. */
export class Site1790000000001 implements MigrationInterface {
  name = 'Site1790000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE site_order (
        id uuid PRIMARY KEY,
        number bigint NOT NULL UNIQUE,
        kind text NOT NULL,
        tenant_id uuid,
        payload jsonb NOT NULL,
        issued_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        state text NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'done', 'failed')),
        attempts integer NOT NULL DEFAULT 0,
        last_error text,
        finished_at timestamptz
      );
      CREATE INDEX site_order_open ON site_order (number) WHERE state = 'received';

      CREATE TABLE site_result (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id uuid NOT NULL UNIQUE,
        kind text NOT NULL,
        order_id uuid,
        tenant_id uuid,
        payload jsonb NOT NULL,
        at timestamptz NOT NULL DEFAULT now()
      );

      CREATE TABLE agent_identity (
        agent_id uuid PRIMARY KEY,
        tenant_id uuid NOT NULL,
        name text NOT NULL,
        public_key text NOT NULL,
        revoked_at timestamptz
      );

      CREATE TABLE standby (
        workload_id uuid PRIMARY KEY,
        tenant_id uuid NOT NULL,
        agent_id uuid NOT NULL,
        workload_name text NOT NULL,
        role text NOT NULL CHECK (role IN ('metro', 'regional')),
        mode text NOT NULL CHECK (mode IN ('strict', 'available')),
        state text NOT NULL,
        state_reason text,
        state_since timestamptz NOT NULL DEFAULT now(),
        epoch integer NOT NULL,
        names jsonb NOT NULL,
        peer jsonb,
        server jsonb,
        bandwidth_bytes_per_second bigint,
        paused boolean NOT NULL DEFAULT false,
        reboot_until timestamptz,
        removing boolean NOT NULL DEFAULT false,
        standby_port integer,
        forward_port integer,
        promoted_at_lsn pg_lsn,
        promoted_timeline integer,
        seeding jsonb,
        generation integer NOT NULL DEFAULT 1,
        version integer NOT NULL DEFAULT 1
      );

      CREATE TABLE armed_lease (
        workload_id uuid PRIMARY KEY REFERENCES standby ON DELETE CASCADE,
        epoch integer NOT NULL,
        armed_until timestamptz,
        armed_since timestamptz,
        refused boolean NOT NULL DEFAULT false,
        disarm_request_id uuid,
        disarmed_at timestamptz,
        disarmed_at_lsn pg_lsn,
        degrade_lease_seconds integer,
        degrade_until timestamptz,
        rearm boolean NOT NULL DEFAULT false
      );

      CREATE TABLE source_report (
        workload_id uuid PRIMARY KEY REFERENCES standby ON DELETE CASCADE,
        received_at timestamptz NOT NULL,
        lsn pg_lsn,
        report jsonb NOT NULL
      );

      CREATE TABLE front_door (
        workload_id uuid PRIMARY KEY REFERENCES standby ON DELETE CASCADE,
        port integer NOT NULL UNIQUE,
        leads_to text NOT NULL CHECK (leads_to IN ('production', 'standby', 'closed')),
        changed_at timestamptz NOT NULL DEFAULT now()
      );

      CREATE FUNCTION tell_link() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('link_changed', TG_TABLE_NAME); RETURN NULL; END $$;
      CREATE TRIGGER tell_link AFTER INSERT OR UPDATE OR DELETE ON agent_identity
        FOR EACH STATEMENT EXECUTE FUNCTION tell_link();
      CREATE TRIGGER tell_link AFTER INSERT OR UPDATE OR DELETE ON standby
        FOR EACH STATEMENT EXECUTE FUNCTION tell_link();
      CREATE TRIGGER tell_link AFTER INSERT OR UPDATE OR DELETE ON front_door
        FOR EACH STATEMENT EXECUTE FUNCTION tell_link();
      CREATE TRIGGER tell_link AFTER UPDATE OF refused, disarm_request_id, rearm ON armed_lease
        FOR EACH STATEMENT EXECUTE FUNCTION tell_link();
      CREATE FUNCTION tell_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('site_result', ''); RETURN NULL; END $$;
      CREATE TRIGGER tell_outbox AFTER INSERT ON site_result
        FOR EACH STATEMENT EXECUTE FUNCTION tell_outbox();
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE front_door, source_report, armed_lease, standby, agent_identity, site_result, site_order;
      DROP FUNCTION tell_outbox, tell_link;
    `);
  }
}

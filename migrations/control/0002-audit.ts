import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Each agency's audit log. Nobody may change or delete an entry: no role has the right, and a trigger refuses it even
 * to the owner. The trigger also refuses an entry that does not follow the newest one.
 */
export class Audit1790000000002 implements MigrationInterface {
  name = 'Audit1790000000002';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE audit_entry (
        tenant_id uuid NOT NULL,
        number bigint NOT NULL,
        at timestamptz NOT NULL,
        actor_kind text NOT NULL,
        actor_id text,
        actor_name text NOT NULL,
        action text NOT NULL,
        subject_kind text NOT NULL,
        subject_id text,
        detail jsonb NOT NULL,
        request_id text,
        previous_hash bytea NOT NULL,
        hash bytea NOT NULL,
        PRIMARY KEY (tenant_id, number)
      );
      CREATE INDEX audit_entry_subject ON audit_entry (tenant_id, subject_id, number);
      ALTER TABLE audit_entry ENABLE ROW LEVEL SECURITY;
      ALTER TABLE audit_entry FORCE ROW LEVEL SECURITY;
      CREATE POLICY tenant_own ON audit_entry TO mainstay_tenant
        USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid)
        WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
      CREATE POLICY provider_all ON audit_entry TO mainstay_provider USING (true) WITH CHECK (true);
      GRANT SELECT, INSERT ON audit_entry TO mainstay_tenant, mainstay_provider;

      -- The newest entry of each log. Only the functions below touch it, as its owner.
      CREATE TABLE audit_head (
        tenant_id uuid PRIMARY KEY,
        number bigint NOT NULL,
        hash bytea NOT NULL
      );
      ALTER TABLE audit_head ENABLE ROW LEVEL SECURITY;
      ALTER TABLE audit_head FORCE ROW LEVEL SECURITY;
      CREATE POLICY owner_functions ON audit_head TO mainstay_owner USING (true) WITH CHECK (true);

      CREATE FUNCTION audit_lock_head(tenant uuid) RETURNS TABLE (number bigint, hash bytea)
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
      BEGIN
        IF session_user = 'mainstay_tenant'
           AND tenant IS DISTINCT FROM NULLIF(current_setting('app.tenant_id', true), '')::uuid THEN
          RAISE EXCEPTION 'this log is not yours' USING ERRCODE = 'insufficient_privilege';
        END IF;
        INSERT INTO public.audit_head AS h VALUES (tenant, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
        RETURN QUERY SELECT h.number, h.hash FROM public.audit_head h WHERE h.tenant_id = tenant FOR UPDATE;
      END $$;
      REVOKE ALL ON FUNCTION audit_lock_head FROM PUBLIC;
      GRANT EXECUTE ON FUNCTION audit_lock_head TO mainstay_tenant, mainstay_provider;

      CREATE FUNCTION audit_follow() RETURNS trigger
      LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
      BEGIN
        UPDATE public.audit_head h SET number = NEW.number, hash = NEW.hash
         WHERE h.tenant_id = NEW.tenant_id AND h.number = NEW.number - 1 AND h.hash = NEW.previous_hash;
        IF NOT FOUND THEN
          RAISE EXCEPTION 'an audit entry must follow the newest one' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
      END $$;
      -- After, so that the policies have already refused an entry in another agency's log.
      CREATE TRIGGER audit_follow AFTER INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_follow();

      CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
      END $$;
      CREATE TRIGGER audit_refuse BEFORE UPDATE OR DELETE ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_refuse();
      CREATE TRIGGER audit_refuse_all BEFORE TRUNCATE ON audit_entry FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE audit_entry, audit_head;
      DROP FUNCTION audit_follow, audit_refuse, audit_lock_head;
    `);
  }
}

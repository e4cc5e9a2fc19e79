import type { MigrationInterface, QueryRunner } from 'typeorm';

const OWN = `NULLIF(current_setting('app.tenant_id', true), '')::uuid`;

/** Agencies, their members and API keys; and what is still waiting to be confirmed by mail. */
export class Tenancy1790000000005 implements MigrationInterface {
  name = 'Tenancy1790000000005';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE agency (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        government_kind text NOT NULL,
        state_code text NOT NULL CHECK (state_code ~ '^[A-Z]{2}$'),
        contact_name text NOT NULL,
        contact_email text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        suspended_at timestamptz
      );
      ALTER TABLE agency ENABLE ROW LEVEL SECURITY;
      ALTER TABLE agency FORCE ROW LEVEL SECURITY;
      CREATE POLICY tenant_own ON agency TO mainstay_tenant USING (id = ${OWN}) WITH CHECK (id = ${OWN});
      CREATE POLICY provider_all ON agency TO mainstay_provider USING (true) WITH CHECK (true);
      GRANT SELECT, UPDATE (name, contact_name, contact_email) ON agency TO mainstay_tenant;
      GRANT SELECT, INSERT, UPDATE ON agency TO mainstay_provider;

      -- A sign-up that waits for its mailed token. The agency and its owner are made when it is confirmed.
      CREATE TABLE sign_up (
        id uuid PRIMARY KEY,
        email text NOT NULL,
        agency_name text NOT NULL,
        government_kind text NOT NULL,
        state_code text NOT NULL,
        contact_name text NOT NULL,
        password_hash text NOT NULL,
        token_hash bytea NOT NULL UNIQUE,
        mailed_at timestamptz NOT NULL DEFAULT now(),
        mails integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        agency_id uuid REFERENCES agency
      );
      CREATE INDEX sign_up_email ON sign_up (email, created_at DESC);
      CREATE INDEX sign_up_expiry ON sign_up (expires_at);
      ALTER TABLE sign_up ENABLE ROW LEVEL SECURITY;
      ALTER TABLE sign_up FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON sign_up TO mainstay_provider USING (true) WITH CHECK (true);
      GRANT SELECT, INSERT, UPDATE, DELETE ON sign_up TO mainstay_provider;

      CREATE TABLE member (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL,
        user_id uuid NOT NULL REFERENCES auth."user" ("id"),
        email text NOT NULL,
        name text NOT NULL,
        role text NOT NULL CHECK (role IN ('owner', 'operator', 'auditor')),
        may_declare boolean NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, user_id)
      );
      CREATE INDEX member_user ON member (user_id);

      CREATE TABLE invitation (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL,
        email text NOT NULL,
        role text NOT NULL CHECK (role IN ('owner', 'operator', 'auditor')),
        may_declare boolean NOT NULL,
        token_hash bytea NOT NULL UNIQUE,
        invited_by text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        accepted_at timestamptz,
        withdrawn_at timestamptz,
        PRIMARY KEY (tenant_id, id)
      );
      CREATE UNIQUE INDEX invitation_open ON invitation (tenant_id, email)
        WHERE accepted_at IS NULL AND withdrawn_at IS NULL;

      CREATE TABLE api_key (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL UNIQUE,
        name text NOT NULL,
        scopes text[] NOT NULL,
        secret_hash bytea NOT NULL,
        made_by uuid NOT NULL,
        made_by_name text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        last_used_at timestamptz,
        revoked_at timestamptz,
        PRIMARY KEY (tenant_id, id)
      );
    `);
    for (const table of ['member', 'invitation', 'api_key']) {
      await runner.query(`
        ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE ${table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant_own ON ${table} TO mainstay_tenant USING (tenant_id = ${OWN}) WITH CHECK (tenant_id = ${OWN});
        CREATE POLICY provider_all ON ${table} TO mainstay_provider USING (true) WITH CHECK (true);
        GRANT SELECT, UPDATE ON ${table} TO mainstay_tenant;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ${table} TO mainstay_provider;
      `);
    }
    await runner.query(`
      GRANT DELETE ON member TO mainstay_tenant;
      GRANT INSERT ON invitation, api_key TO mainstay_tenant;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE api_key, invitation, member, sign_up, agency;`);
  }
}

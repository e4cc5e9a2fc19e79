import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Requests with an Idempotency-Key: whose, a hash of the key and of the request, and the sealed answer. */
export class Idempotency1790000000003 implements MigrationInterface {
  name = 'Idempotency1790000000003';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE idempotency_key (
        caller text NOT NULL,
        key_hash bytea NOT NULL,
        tenant_id uuid,
        request_hash bytea NOT NULL,
        claim_id uuid NOT NULL,
        claimed_until timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        answer bytea,
        PRIMARY KEY (caller, key_hash)
      );
      CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at);
      ALTER TABLE idempotency_key ENABLE ROW LEVEL SECURITY;
      ALTER TABLE idempotency_key FORCE ROW LEVEL SECURITY;
      CREATE POLICY tenant_own ON idempotency_key TO mainstay_tenant
        USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid)
        WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
      CREATE POLICY provider_all ON idempotency_key TO mainstay_provider USING (true) WITH CHECK (true);
      GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_key TO mainstay_tenant, mainstay_provider;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE idempotency_key;`);
  }
}

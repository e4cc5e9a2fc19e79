import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What an agency was told: one row for a notice and its repetitions. */
export class Notifications1790000000006 implements MigrationInterface {
  name = 'Notifications1790000000006';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE notice (
        tenant_id uuid NOT NULL REFERENCES agency,
        id uuid NOT NULL,
        kind text NOT NULL,
        severity text NOT NULL CHECK (severity IN ('information', 'warning', 'alarm')),
        title text NOT NULL,
        text text NOT NULL,
        subject_ids jsonb NOT NULL,
        dedupe_key text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        repeats integer NOT NULL DEFAULT 0,
        last_raised_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (tenant_id, id)
      );
      CREATE INDEX notice_newest ON notice (tenant_id, created_at DESC, id DESC);
      CREATE INDEX notice_repeats ON notice (tenant_id, dedupe_key, created_at DESC);
      ALTER TABLE notice ENABLE ROW LEVEL SECURITY;
      ALTER TABLE notice FORCE ROW LEVEL SECURITY;
      CREATE POLICY tenant_own ON notice TO mainstay_tenant
        USING (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid)
        WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
      CREATE POLICY provider_all ON notice TO mainstay_provider USING (true) WITH CHECK (true);
      GRANT SELECT ON notice TO mainstay_tenant;
      GRANT SELECT, INSERT, UPDATE, DELETE ON notice TO mainstay_provider;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE notice;`);
  }
}

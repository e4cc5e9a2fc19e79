import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Mailed tokens to choose a new password with. */
export class PasswordResets1790000000007 implements MigrationInterface {
  name = 'PasswordResets1790000000007';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE auth.password_reset (
        user_id uuid PRIMARY KEY REFERENCES auth."user" ("id") ON DELETE CASCADE,
        token_hash bytea NOT NULL UNIQUE,
        mailed_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL
      );
      ALTER TABLE auth.password_reset ENABLE ROW LEVEL SECURITY;
      ALTER TABLE auth.password_reset FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON auth.password_reset TO mainstay_provider USING (true) WITH CHECK (true);
      GRANT SELECT, INSERT, UPDATE, DELETE ON auth.password_reset TO mainstay_provider;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE auth.password_reset;`);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Several mailed tokens of one person are open side by side: a stranger's request voids none. */
export class OpenPasswordResets1790000000032 implements MigrationInterface {
  name = 'OpenPasswordResets1790000000032';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE auth.password_reset DROP CONSTRAINT password_reset_pkey;
      ALTER TABLE auth.password_reset DROP CONSTRAINT password_reset_token_hash_key;
      ALTER TABLE auth.password_reset ADD PRIMARY KEY (token_hash);
      CREATE INDEX password_reset_user ON auth.password_reset (user_id);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- The owner is bound by the policies, too, and has none of its own.
      ALTER TABLE auth.password_reset NO FORCE ROW LEVEL SECURITY;
      DELETE FROM auth.password_reset r USING auth.password_reset newer
       WHERE newer.user_id = r.user_id AND (newer.mailed_at, newer.token_hash) > (r.mailed_at, r.token_hash);
      ALTER TABLE auth.password_reset FORCE ROW LEVEL SECURITY;
      DROP INDEX auth.password_reset_user;
      ALTER TABLE auth.password_reset DROP CONSTRAINT password_reset_pkey;
      ALTER TABLE auth.password_reset ADD PRIMARY KEY (user_id);
      ALTER TABLE auth.password_reset ADD CONSTRAINT password_reset_token_hash_key UNIQUE (token_hash);
    `);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Where people have signed in before, and which codes of their authenticator apps have been used. */
export class SignIn1790000000022 implements MigrationInterface {
  name = 'SignIn1790000000022';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE auth.known_source (
        user_id uuid NOT NULL REFERENCES auth."user" ("id") ON DELETE CASCADE,
        source bytea NOT NULL,
        seen_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (user_id, source)
      );
      CREATE TABLE auth.used_code (
        user_id uuid NOT NULL REFERENCES auth."user" ("id") ON DELETE CASCADE,
        code_hash bytea NOT NULL,
        until timestamptz NOT NULL,
        PRIMARY KEY (user_id, code_hash)
      );
      CREATE INDEX used_code_until ON auth.used_code (until);
      CREATE INDEX known_source_seen ON auth.known_source (seen_at);
    `);
    for (const table of ['known_source', 'used_code']) {
      await runner.query(`
        ALTER TABLE auth.${table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE auth.${table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY provider_all ON auth.${table} TO mainstay_provider USING (true) WITH CHECK (true);
        GRANT SELECT, INSERT, UPDATE, DELETE ON auth.${table} TO mainstay_provider;
      `);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE auth.used_code, auth.known_source;`);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What an archive kept before it was told to keep less, and until when that counts too. */
export class FormerRetention1790000000025 implements MigrationInterface {
  name = 'FormerRetention1790000000025';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE archive ADD COLUMN former_retention jsonb;`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE archive DROP COLUMN former_retention;`);
  }
}

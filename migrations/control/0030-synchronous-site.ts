import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a person's grant lets production do: go on alone, or with the regional site as the synchronous one. */
export class SynchronousSite1790000000030 implements MigrationInterface {
  name = 'SynchronousSite1790000000030';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- The default is for the rows that are there; row-level security keeps an UPDATE of them from the owner too.
      ALTER TABLE degrade_grant ADD COLUMN target text DEFAULT 'alone' CHECK (target IN ('alone', 'regional'));
      ALTER TABLE degrade_grant ALTER COLUMN target DROP DEFAULT;
      ALTER TABLE degrade_grant ADD CONSTRAINT degrade_grant_target CHECK (kind <> 'degrade' OR target IS NOT NULL);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE degrade_grant DROP COLUMN target`);
  }
}

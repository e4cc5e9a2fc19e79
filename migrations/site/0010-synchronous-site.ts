import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Either site of a pair can be the synchronous one. */
export class SynchronousSite1790000000010 implements MigrationInterface {
  name = 'SynchronousSite1790000000010';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE armed_lease
        -- The site that a record of disarming, or a grant that is passed on, makes the synchronous one; null: none.
        ADD COLUMN disarm_to text CHECK (disarm_to IN ('metro', 'regional'));
      ALTER TABLE source_report
        -- As contrary, against what the regional site may claim: each site keeps both, its own and the other's.
        ADD COLUMN contrary_regional text,
        ADD COLUMN contrary_regional_at timestamptz;
      ALTER TABLE failover_run
        -- The regional site may have been the synchronous one in this epoch, and have granted what it can grant.
        ADD COLUMN regional_granted boolean NOT NULL DEFAULT false;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE failover_run DROP COLUMN regional_granted;
      ALTER TABLE source_report DROP COLUMN contrary_regional, DROP COLUMN contrary_regional_at;
      ALTER TABLE armed_lease DROP COLUMN disarm_to;
    `);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a lease proves beyond its time: that the agent has heard "strict", and since when nothing new is granted. */
export class Evidence1790000000004 implements MigrationInterface {
  name = 'Evidence1790000000004';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE armed_lease
        -- The agent was armed after it had heard that the workload is strict. A row's mode alone says what is wanted.
        ADD COLUMN strict_confirmed boolean NOT NULL DEFAULT false,
        ADD COLUMN refused_at timestamptz;
      ALTER TABLE source_report
        -- What the agent last said that speaks against "armed", until it says "armed" again.
        ADD COLUMN contrary text,
        ADD COLUMN contrary_at timestamptz;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE source_report DROP COLUMN contrary, DROP COLUMN contrary_at;
      ALTER TABLE armed_lease DROP COLUMN strict_confirmed, DROP COLUMN refused_at;
    `);
  }
}

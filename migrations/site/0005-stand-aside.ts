import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What the control plane said last of a promotion at the other site. */
export class StandAside1790000000005 implements MigrationInterface {
  name = 'StandAside1790000000005';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE stand_aside (
        workload_id uuid PRIMARY KEY REFERENCES standby ON DELETE CASCADE,
        epoch integer NOT NULL,
        word text NOT NULL CHECK (word IN ('hold', 'resume', 'promoted')),
        run_id uuid NOT NULL,
        promoted_at_lsn pg_lsn,
        promoted_timeline integer
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE stand_aside');
  }
}

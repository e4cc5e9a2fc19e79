import type { MigrationInterface, QueryRunner } from 'typeorm';

/** From where clients may come to a workload's front doors. */
export class ClientNetworks1790000000015 implements MigrationInterface {
  name = 'ClientNetworks1790000000015';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE protection ADD COLUMN client_networks text[] NOT NULL DEFAULT '{}';
      -- Whose production runs at a site is served through its front door now: that must not end.
      UPDATE protection SET client_networks = '{0.0.0.0/0,::/0}' WHERE state IN ('failing-over', 'failed-over');
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE protection DROP COLUMN client_networks');
  }
}

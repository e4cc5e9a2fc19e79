import type { MigrationInterface, QueryRunner } from 'typeorm';

/** From where clients may come to a front door; none: from nowhere. */
export class ClientNetworks1790000000007 implements MigrationInterface {
  name = 'ClientNetworks1790000000007';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE front_door ADD COLUMN client_networks text[] NOT NULL DEFAULT '{}';
      -- Production that runs here already is served through its front door now: that must not end.
      UPDATE front_door SET client_networks = '{0.0.0.0/0,::/0}' WHERE leads_to = 'standby';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE front_door DROP COLUMN client_networks');
  }
}

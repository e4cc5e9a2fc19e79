import type { MigrationInterface, QueryRunner } from 'typeorm';

/** How fast one repository may send in and read out. */
export class VaultRate1790000000026 implements MigrationInterface {
  name = 'VaultRate1790000000026';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE vault_repository ADD COLUMN bytes_per_second bigint CHECK (bytes_per_second > 0)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE vault_repository DROP COLUMN bytes_per_second`);
  }
}

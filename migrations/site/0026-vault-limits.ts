import type { MigrationInterface, QueryRunner } from 'typeorm';

/** How fast one repository may send in and read out, and credentials that cannot read what they wrote. */
export class VaultLimits1790000000026 implements MigrationInterface {
  name = 'VaultLimits1790000000026';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE vault_repository ADD COLUMN bytes_per_second bigint CHECK (bytes_per_second > 0);
      ALTER TABLE vault_credential
        DROP CONSTRAINT vault_credential_role_check,
        ADD CHECK (role IN ('append', 'write', 'read', 'maintain'));
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      UPDATE vault_credential SET role = 'append' WHERE role = 'write';
      ALTER TABLE vault_credential
        DROP CONSTRAINT vault_credential_role_check,
        ADD CHECK (role IN ('append', 'read', 'maintain'));
      ALTER TABLE vault_repository DROP COLUMN bytes_per_second;
    `);
  }
}

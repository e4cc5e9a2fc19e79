import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Objects that were no part of an archive, whatever they were called, and were laid aside. */
export class JunkObjects1790000000024 implements MigrationInterface {
  name = 'JunkObjects1790000000024';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE archive_junk (
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        object text NOT NULL,
        found_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (archive_id, object)
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE archive_junk;`);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Retention that fails, a copy of which nothing is known yet, files that are being laid out, and the bytes of kept copies. */
export class WhatArchivesTell1790000000023 implements MigrationInterface {
  name = 'WhatArchivesTell1790000000023';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- Since retention last worked: null and none while it does.
      ALTER TABLE archive
        ADD COLUMN retention_failing_since timestamptz,
        ADD COLUMN retention_failures integer NOT NULL DEFAULT 0,
        ADD COLUMN retention_failure jsonb;

      -- Null: nobody has seen yet what the copy lacks.
      ALTER TABLE archive_copy
        ALTER COLUMN missing_objects DROP NOT NULL, ALTER COLUMN missing_objects DROP DEFAULT,
        ALTER COLUMN missing_bytes DROP NOT NULL, ALTER COLUMN missing_bytes DROP DEFAULT;

      -- The recovery point whose files are being laid out; until that is done the folder holds no point.
      ALTER TABLE archive_standing ADD COLUMN laying_out text;

      -- Also of the copies that this site keeps for other sites.
      ALTER TABLE archive_stored DROP CONSTRAINT archive_stored_archive_id_fkey;
      ALTER TABLE archive_stored ADD FOREIGN KEY (archive_id) REFERENCES vault_repository;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DELETE FROM archive_stored s WHERE NOT EXISTS (SELECT FROM archive a WHERE a.archive_id = s.archive_id);
      ALTER TABLE archive_stored DROP CONSTRAINT archive_stored_archive_id_fkey;
      ALTER TABLE archive_stored ADD FOREIGN KEY (archive_id) REFERENCES archive ON DELETE CASCADE;
      ALTER TABLE archive_standing DROP COLUMN laying_out;
      UPDATE archive_copy SET missing_objects = coalesce(missing_objects, 0), missing_bytes = coalesce(missing_bytes, 0);
      ALTER TABLE archive_copy
        ALTER COLUMN missing_objects SET NOT NULL, ALTER COLUMN missing_objects SET DEFAULT 0,
        ALTER COLUMN missing_bytes SET NOT NULL, ALTER COLUMN missing_bytes SET DEFAULT 0;
      ALTER TABLE archive
        DROP COLUMN retention_failing_since, DROP COLUMN retention_failures, DROP COLUMN retention_failure;
    `);
  }
}

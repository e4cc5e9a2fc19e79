import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What test restores saw of the contents, and how the agencies' canaries are known. */
export class WhatRestoresSaw1790000000022 implements MigrationInterface {
  name = 'WhatRestoresSaw1790000000022';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE archive_point
        ADD COLUMN seen jsonb,
        -- Not compared yet with what earlier restores saw.
        ADD COLUMN seen_new boolean NOT NULL DEFAULT false;
      CREATE INDEX archive_point_seen ON archive_point (archive_id) WHERE seen_new;

      CREATE TABLE archive_canary (
        archive_id uuid NOT NULL REFERENCES archive ON DELETE CASCADE,
        path text NOT NULL,
        -- Null: to be learnt from a restore.
        sha256 text,
        -- Since when it is listed; then of the recovery point from which it is known. Older ones are not compared with it.
        received_at timestamptz NOT NULL,
        PRIMARY KEY (archive_id, path)
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE archive_canary;
      DROP INDEX archive_point_seen;
      ALTER TABLE archive_point DROP COLUMN seen, DROP COLUMN seen_new;
    `);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Rights that nobody needs. The audit log's trigger runs with its owner's rights and could be hung on anybody's table;
 * notifications of runs are heard by every role that can connect, so they name a run by a hash that only who knows the
 * run can compare.
 */
export class NarrowRights1790000000024 implements MigrationInterface {
  name = 'NarrowRights1790000000024';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      REVOKE ALL ON FUNCTION audit_follow, audit_refuse, never_altered, tell_run FROM PUBLIC;
      CREATE OR REPLACE FUNCTION tell_run() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_notify('failover_run', encode(sha256(convert_to(
          CASE TG_TABLE_NAME WHEN 'run_event' THEN to_jsonb(NEW)->>'run_id' ELSE to_jsonb(NEW)->>'id' END, 'UTF8')), 'hex'));
        RETURN NULL;
      END $$;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE OR REPLACE FUNCTION tell_run() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_notify('failover_run', CASE TG_TABLE_NAME WHEN 'run_event' THEN to_jsonb(NEW)->>'run_id' ELSE to_jsonb(NEW)->>'id' END);
        RETURN NULL;
      END $$;
      GRANT EXECUTE ON FUNCTION audit_follow, audit_refuse, never_altered, tell_run TO PUBLIC;
    `);
  }
}

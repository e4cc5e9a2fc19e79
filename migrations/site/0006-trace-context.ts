import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Work that is a row knows the trace that it belongs to (W3C traceparent), so that a crash does not end the trace. */
export class TraceContext1790000000006 implements MigrationInterface {
  name = 'TraceContext1790000000006';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE site_order ADD COLUMN traceparent text;
      ALTER TABLE failover_run ADD COLUMN traceparent text;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE failover_run DROP COLUMN traceparent;
      ALTER TABLE site_order DROP COLUMN traceparent;
    `);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Orders and events know the trace that they belong to (W3C traceparent), so that whoever works on them goes on in it. */
export class TraceContext1790000000014 implements MigrationInterface {
  name = 'TraceContext1790000000014';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE outgoing_order ADD COLUMN traceparent text;
      ALTER TABLE outbox_event ADD COLUMN traceparent text;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE outbox_event DROP COLUMN traceparent;
      ALTER TABLE outgoing_order DROP COLUMN traceparent;
    `);
  }
}

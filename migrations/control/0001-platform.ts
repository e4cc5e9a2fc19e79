import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Events and mails: rows written in the transaction of the change that they tell of. */
export class Platform1790000000001 implements MigrationInterface {
  name = 'Platform1790000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE outbox_event (
        id uuid PRIMARY KEY,
        topic text NOT NULL,
        tenant_id uuid,
        payload jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        delivered_at timestamptz
      );
      CREATE INDEX outbox_event_open ON outbox_event (created_at) WHERE delivered_at IS NULL;
      ALTER TABLE outbox_event ENABLE ROW LEVEL SECURITY;
      ALTER TABLE outbox_event FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON outbox_event TO mainstay_provider USING (true) WITH CHECK (true);
      CREATE POLICY tenant_writes ON outbox_event FOR INSERT TO mainstay_tenant
        WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
      GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_event TO mainstay_provider;
      GRANT INSERT ON outbox_event TO mainstay_tenant;

      CREATE TABLE mail_message (
        id uuid PRIMARY KEY,
        recipient text NOT NULL,
        subject text NOT NULL,
        body text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        sent_at timestamptz,
        attempts integer NOT NULL DEFAULT 0,
        last_error text
      );
      CREATE INDEX mail_message_open ON mail_message (created_at) WHERE sent_at IS NULL;
      ALTER TABLE mail_message ENABLE ROW LEVEL SECURITY;
      ALTER TABLE mail_message FORCE ROW LEVEL SECURITY;
      CREATE POLICY provider_all ON mail_message TO mainstay_provider USING (true) WITH CHECK (true);
      CREATE POLICY tenant_writes ON mail_message FOR INSERT TO mainstay_tenant WITH CHECK (true);
      GRANT SELECT, INSERT, UPDATE, DELETE ON mail_message TO mainstay_provider;
      GRANT INSERT ON mail_message TO mainstay_tenant;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE mail_message; DROP TABLE outbox_event;`);
  }
}

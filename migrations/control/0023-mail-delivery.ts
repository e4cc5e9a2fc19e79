import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * A mail is claimed, sent outside of any transaction, and marked. It knows its agency, so that an agency's transaction
 * writes mails in that agency's name only, and when it is tried next or why it never will be again.
 */
export class MailDelivery1790000000023 implements MigrationInterface {
  name = 'MailDelivery1790000000023';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE mail_message
        ADD COLUMN tenant_id uuid,
        ADD COLUMN claim_id uuid,
        ADD COLUMN claimed_until timestamptz,
        ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN failed_at timestamptz;
      DROP INDEX mail_message_open;
      CREATE INDEX mail_message_due ON mail_message (next_attempt_at) WHERE sent_at IS NULL AND failed_at IS NULL;
      CREATE INDEX mail_message_unsent ON mail_message (created_at) WHERE sent_at IS NULL;
      DROP POLICY tenant_writes ON mail_message;
      CREATE POLICY tenant_writes ON mail_message FOR INSERT TO mainstay_tenant
        WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant_id', true), '')::uuid);
      REVOKE INSERT ON mail_message FROM mainstay_tenant;
      GRANT INSERT (id, tenant_id, recipient, subject, body) ON mail_message TO mainstay_tenant;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      REVOKE INSERT (id, tenant_id, recipient, subject, body) ON mail_message FROM mainstay_tenant;
      GRANT INSERT ON mail_message TO mainstay_tenant;
      DROP POLICY tenant_writes ON mail_message;
      CREATE POLICY tenant_writes ON mail_message FOR INSERT TO mainstay_tenant WITH CHECK (true);
      DROP INDEX mail_message_unsent, mail_message_due;
      CREATE INDEX mail_message_open ON mail_message (created_at) WHERE sent_at IS NULL;
      ALTER TABLE mail_message DROP COLUMN tenant_id, DROP COLUMN claim_id, DROP COLUMN claimed_until,
        DROP COLUMN next_attempt_at, DROP COLUMN failed_at;
    `);
  }
}

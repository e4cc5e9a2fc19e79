import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Who made an invitation or an enrolment token: a member's id, or for a token an API key's. What somebody handed out
 * ends with them. Rows of before learn it from the audit log.
 */
export class Makers1790000000021 implements MigrationInterface {
  name = 'Makers1790000000021';

  async up(runner: QueryRunner): Promise<void> {
    for (const [table, action] of [
      ['invitation', 'member.invited'],
      ['enrolment_token', 'enrolment-token.made'],
    ]) {
      await runner.query(`
        ALTER TABLE ${table} ADD COLUMN made_by uuid;
        -- The owner is bound by the policies, too, and has none of its own.
        ALTER TABLE ${table} NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE audit_entry NO FORCE ROW LEVEL SECURITY;
        UPDATE ${table} t SET made_by = e.actor_id::uuid FROM audit_entry e
         WHERE e.tenant_id = t.tenant_id AND e.subject_id = t.id::text AND e.action = '${action}';
        ALTER TABLE audit_entry FORCE ROW LEVEL SECURITY;
        ALTER TABLE ${table} FORCE ROW LEVEL SECURITY;
        CREATE INDEX ${table}_made_by ON ${table} (tenant_id, made_by);
      `);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE enrolment_token DROP COLUMN made_by;
      ALTER TABLE invitation DROP COLUMN made_by;
    `);
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * For installations that ran 0015 when row-level security hid the rows from it: production that ran at a site before
 * is served through an open front door there, and is to be known so here. A person's word about client networks, which
 * the audit log has of each protection made or changed since, stands.
 */
export class OpenDoors1790000000031 implements MigrationInterface {
  name = 'OpenDoors1790000000031';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- The owner is bound by the policies, too, and has none of its own.
      ALTER TABLE protection NO FORCE ROW LEVEL SECURITY;
      ALTER TABLE audit_entry NO FORCE ROW LEVEL SECURITY;
      UPDATE protection p SET client_networks = '{0.0.0.0/0,::/0}'
       WHERE p.state IN ('failing-over', 'failed-over') AND p.client_networks = '{}'
         AND NOT EXISTS (SELECT FROM audit_entry e
                          WHERE e.tenant_id = p.tenant_id AND e.subject_id = p.workload_id::text AND e.at >= p.created_at
                            AND e.action IN ('protection.created', 'protection.changed')
                            AND e.detail ? 'clientNetworks');
      ALTER TABLE audit_entry FORCE ROW LEVEL SECURITY;
      ALTER TABLE protection FORCE ROW LEVEL SECURITY;
    `);
  }

  async down(): Promise<void> {
    // What 0015 should have written stays: nothing was altered but its rows.
  }
}

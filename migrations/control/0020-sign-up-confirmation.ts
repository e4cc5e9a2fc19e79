import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * A sign-up has no password any more: who confirms it chooses one, so that nobody can wait with theirs for somebody
 * else to confirm. A sign-up that was not mailed (its address had enough mails) has no time of mailing.
 */
export class SignUpConfirmation1790000000020 implements MigrationInterface {
  name = 'SignUpConfirmation1790000000020';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE sign_up DROP COLUMN password_hash;
      ALTER TABLE sign_up ALTER COLUMN mailed_at DROP NOT NULL;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      UPDATE sign_up SET mailed_at = created_at WHERE mailed_at IS NULL;
      ALTER TABLE sign_up ALTER COLUMN mailed_at SET NOT NULL;
      ALTER TABLE sign_up ADD COLUMN password_hash text NOT NULL DEFAULT '';
      ALTER TABLE sign_up ALTER COLUMN password_hash DROP DEFAULT;
    `);
  }
}

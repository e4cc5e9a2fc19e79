import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The archive vault: repositories, who may do what in them, and what the vault itself knows of their objects. */
export class Vault1790000000020 implements MigrationInterface {
  name = 'Vault1790000000020';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE vault_repository (
        repository_id uuid PRIMARY KEY,
        tenant_id uuid NOT NULL,
        quota_bytes bigint CHECK (quota_bytes > 0),
        minimum_age_seconds integer NOT NULL CHECK (minimum_age_seconds >= 0),
        held_because text,
        -- One of its credentials; not a foreign key, since the two tables would then refer to each other.
        maintained_by uuid,
        maintained_until timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
      );

      CREATE TABLE vault_credential (
        credential_id uuid PRIMARY KEY,
        repository_id uuid NOT NULL REFERENCES vault_repository ON DELETE CASCADE,
        role text NOT NULL CHECK (role IN ('append', 'read', 'maintain')),
        secret_hash bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        ends_at timestamptz
      );
      CREATE INDEX vault_credential_repository ON vault_credential (repository_id);

      CREATE TABLE vault_lock (
        repository_id uuid NOT NULL REFERENCES vault_repository ON DELETE CASCADE,
        lock_id text NOT NULL,
        credential_id uuid NOT NULL,
        taken_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (repository_id, lock_id)
      );

      CREATE TABLE vault_snapshot (
        repository_id uuid NOT NULL REFERENCES vault_repository ON DELETE CASCADE,
        snapshot_id text NOT NULL,
        received_at timestamptz NOT NULL,
        credential_id uuid NOT NULL,
        PRIMARY KEY (repository_id, snapshot_id)
      );

      CREATE TABLE vault_refusal (
        repository_id uuid NOT NULL REFERENCES vault_repository ON DELETE CASCADE,
        credential_id uuid NOT NULL,
        kind text NOT NULL,
        times bigint NOT NULL DEFAULT 1,
        first_at timestamptz NOT NULL DEFAULT now(),
        last_at timestamptz NOT NULL DEFAULT now(),
        last_what text NOT NULL,
        PRIMARY KEY (repository_id, credential_id, kind)
      );

      CREATE FUNCTION tell_vault() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('vault_changed', ''); RETURN NULL; END $$;
      CREATE TRIGGER tell_vault AFTER UPDATE OR DELETE ON vault_credential
        FOR EACH STATEMENT EXECUTE FUNCTION tell_vault();
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE vault_refusal, vault_snapshot, vault_lock, vault_credential, vault_repository;
      DROP FUNCTION tell_vault;
    `);
  }
}

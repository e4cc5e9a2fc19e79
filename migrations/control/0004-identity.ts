import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * People, passwords, second factors and sessions, as better-auth 1.7 lays them out (its compileMigrations wrote the
 * first five tables), in a schema that the tenant role cannot enter; and the provider's staff.
 */
export class Identity1790000000004 implements MigrationInterface {
  name = 'Identity1790000000004';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE SCHEMA auth;
      GRANT USAGE ON SCHEMA auth TO mainstay_provider;

      CREATE TABLE auth."user" (
        "id" uuid DEFAULT pg_catalog.gen_random_uuid() NOT NULL PRIMARY KEY,
        "name" text NOT NULL,
        "email" text NOT NULL UNIQUE,
        "emailVerified" boolean NOT NULL,
        "image" text,
        "createdAt" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
        "updatedAt" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
        "twoFactorEnabled" boolean
      );
      CREATE TABLE auth.session (
        "id" uuid DEFAULT pg_catalog.gen_random_uuid() NOT NULL PRIMARY KEY,
        "expiresAt" timestamptz NOT NULL,
        "token" text NOT NULL UNIQUE,
        "createdAt" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
        "updatedAt" timestamptz NOT NULL,
        "ipAddress" text,
        "userAgent" text,
        "userId" uuid NOT NULL REFERENCES auth."user" ("id") ON DELETE CASCADE,
        -- Ours: what the session is for. A session serves nobody until these are set.
        "audience" text CHECK ("audience" IN ('member', 'staff')),
        "tenantId" uuid
      );
      CREATE INDEX "session_userId_idx" ON auth.session ("userId");
      CREATE TABLE auth.account (
        "id" uuid DEFAULT pg_catalog.gen_random_uuid() NOT NULL PRIMARY KEY,
        "accountId" text NOT NULL,
        "providerId" text NOT NULL,
        "userId" uuid NOT NULL REFERENCES auth."user" ("id") ON DELETE CASCADE,
        "accessToken" text,
        "refreshToken" text,
        "idToken" text,
        "accessTokenExpiresAt" timestamptz,
        "refreshTokenExpiresAt" timestamptz,
        "scope" text,
        "password" text,
        "createdAt" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
        "updatedAt" timestamptz NOT NULL
      );
      CREATE INDEX "account_userId_idx" ON auth.account ("userId");
      CREATE TABLE auth.verification (
        "id" uuid DEFAULT pg_catalog.gen_random_uuid() NOT NULL PRIMARY KEY,
        "identifier" text NOT NULL,
        "value" text NOT NULL,
        "expiresAt" timestamptz NOT NULL,
        "createdAt" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL,
        "updatedAt" timestamptz DEFAULT CURRENT_TIMESTAMP NOT NULL
      );
      CREATE INDEX "verification_identifier_idx" ON auth.verification ("identifier");
      CREATE TABLE auth."twoFactor" (
        "id" uuid DEFAULT pg_catalog.gen_random_uuid() NOT NULL PRIMARY KEY,
        "secret" text NOT NULL,
        "backupCodes" text NOT NULL,
        "userId" uuid NOT NULL REFERENCES auth."user" ("id") ON DELETE CASCADE,
        "verified" boolean,
        "failedVerificationCount" integer,
        "lockedUntil" timestamptz
      );
      CREATE INDEX "twoFactor_secret_idx" ON auth."twoFactor" ("secret");
      CREATE INDEX "twoFactor_userId_idx" ON auth."twoFactor" ("userId");

      -- Refused sign-ins, by a hash of the address (and of where they came from).
      CREATE TABLE auth.refusal (
        key bytea PRIMARY KEY,
        count integer NOT NULL,
        until timestamptz NOT NULL
      );

      CREATE TABLE auth.staff (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL UNIQUE REFERENCES auth."user" ("id"),
        email text NOT NULL,
        name text NOT NULL,
        role text NOT NULL CHECK (role IN ('administrator', 'operator', 'support')),
        created_at timestamptz NOT NULL DEFAULT now(),
        disabled_at timestamptz
      );
    `);
    for (const table of ['"user"', 'session', 'account', 'verification', '"twoFactor"', 'refusal', 'staff']) {
      await runner.query(`
        ALTER TABLE auth.${table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE auth.${table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY provider_all ON auth.${table} TO mainstay_provider USING (true) WITH CHECK (true);
        GRANT SELECT, INSERT, UPDATE, DELETE ON auth.${table} TO mainstay_provider;
      `);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP SCHEMA auth CASCADE;`);
  }
}

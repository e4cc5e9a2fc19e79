import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { checksum, sampleRows, type TenantTable, tenantTables } from './sample-rows.js';

const ELM = randomUUID();
const OAK = randomUUID();
const ELM_ROW = randomUUID();
const OAK_ROW = randomUUID();

describe('another agency’s rows', () => {
  let database: ControlDatabase;
  let admin: pg.Client;
  let tenant: pg.Client;
  let tables: TenantTable[];

  beforeAll(async () => {
    database = await createControlDatabase();
    admin = new pg.Client({ connectionString: database.adminUrl });
    tenant = new pg.Client({ connectionString: database.tenantUrl });
    await admin.connect();
    await tenant.connect();
    await sampleRows(admin, ELM, ELM_ROW);
    await sampleRows(admin, OAK, OAK_ROW);
    tables = await tenantTables(admin);
  });
  afterAll(async () => {
    await tenant.end();
    await admin.end();
    await database.drop();
  });

  /** Runs one statement as the tenant role, in a transaction of its own that is undone; undefined is no context. */
  async function as(
    agency: string | undefined,
    statement: string,
    parameters: unknown[] = [],
  ): Promise<{ rows: number } | { refused: string }> {
    await tenant.query('BEGIN');
    try {
      if (agency !== undefined) await tenant.query(`SELECT set_config('app.tenant_id', $1, true)`, [agency]);
      return { rows: (await tenant.query(statement, parameters)).rowCount ?? 0 };
    } catch (error) {
      return { refused: (error as { code?: string }).code ?? String(error) };
    } finally {
      await tenant.query('ROLLBACK');
    }
  }

  const untouched = { rows: 0 };
  /** insufficient_privilege: a missing right, or a row-level policy. */
  const refused = { refused: '42501' };

  it('cannot be read, changed or deleted, in any table', async () => {
    expect(tables.length).toBeGreaterThan(8);
    const before = await checksum(admin, ELM);
    for (const { sql } of tables) {
      for (const statement of [
        `SELECT tenant_id FROM ${sql} WHERE tenant_id = $1`,
        `UPDATE ${sql} SET tenant_id = tenant_id WHERE tenant_id = $1`,
        `DELETE FROM ${sql} WHERE tenant_id = $1`,
      ]) {
        expect([untouched, refused], `${statement} as another agency`).toContainEqual(await as(OAK, statement, [ELM]));
        expect([untouched, refused], `${statement} without a context`).toContainEqual(
          await as(undefined, statement, [ELM]),
        );
      }
    }
    expect(await checksum(admin, ELM)).toEqual(before);
  });

  it('cannot be made, nor own rows given away, in any table', async () => {
    for (const { sql } of tables) {
      const stolen = `INSERT INTO ${sql} SELECT (jsonb_populate_record(NULL::${sql}, $1)).*`;
      const { rows } = await admin.query(`SELECT to_jsonb(t) AS row FROM ${sql} t WHERE tenant_id = $1`, [OAK]);
      const forged = JSON.stringify({ ...rows[0]?.row, tenant_id: ELM, id: randomUUID() });
      for (const agency of [OAK, undefined]) {
        const outcome = await as(agency, stolen, [forged]);
        expect(outcome, `insert into ${sql}`).toEqual(refused);
      }
      expect([untouched, refused]).toContainEqual(
        await as(OAK, `UPDATE ${sql} SET tenant_id = $1 WHERE tenant_id = $2`, [ELM, OAK]),
      );
    }
  });

  it('own rows are there: the walls stand because of the agency, not for want of rows', async () => {
    for (const table of ['member', 'invitation', 'api_key', 'audit_entry', 'notice']) {
      expect(await as(OAK, `SELECT FROM ${table}`), table).toEqual({ rows: 1 });
      expect(await as(undefined, `SELECT FROM ${table}`), `${table} without a context`).toEqual(untouched);
    }
  });

  it('stay hidden on a connection that another agency used before, committed or rolled back', async () => {
    for (const end of ['COMMIT', 'ROLLBACK']) {
      await tenant.query('BEGIN');
      await tenant.query(`SELECT set_config('app.tenant_id', $1, true)`, [ELM]);
      expect((await tenant.query('SELECT FROM member')).rowCount).toBe(1);
      await tenant.query(end);
      expect((await tenant.query('SELECT FROM member')).rowCount).toBe(0);
      expect(await as(OAK, `SELECT FROM member WHERE tenant_id = $1`, [ELM])).toEqual(untouched);
    }
  });

  it('cannot be reached through the audit log’s own function', async () => {
    expect(await as(OAK, `SELECT * FROM audit_lock_head($1)`, [ELM])).toEqual(refused);
    expect(await as(undefined, `SELECT * FROM audit_lock_head($1)`, [ELM])).toEqual(refused);
    expect(await as(OAK, `SELECT FROM audit_head`)).toEqual(refused);
  });
});

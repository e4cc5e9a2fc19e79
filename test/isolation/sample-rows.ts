import type pg from 'pg';

/** One column as PostgreSQL's catalog describes it. */
interface Column {
  readonly column_name: string;
  readonly data_type: string;
  readonly udt_name: string;
  readonly is_nullable: 'YES' | 'NO';
}

export interface TenantTable {
  readonly schema: string;
  readonly name: string;
  /** Quoted and with its schema: ready for a statement. */
  readonly sql: string;
}

/** Every table that has rows of agencies. */
export async function tenantTables(admin: pg.Client): Promise<TenantTable[]> {
  const { rows } = await admin.query(`
    SELECT n.nspname AS schema, c.relname AS name, format('%I.%I', n.nspname, c.relname) AS sql
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2`);
  return rows as TenantTable[];
}

function valueFor(column: Column, tenantId: string, rowId: string): unknown {
  if (column.column_name === 'tenant_id') return tenantId;
  // A time that may be missing mostly says that something is over (removed, revoked): the sample is not.
  if (column.is_nullable === 'YES' && column.udt_name === 'timestamptz') return null;
  switch (column.udt_name) {
    case 'uuid':
      return rowId;
    case 'jsonb':
    case 'json':
      return '{}';
    case 'bool':
      return false;
    case 'bytea':
      return Buffer.from(rowId);
    case 'timestamptz':
    case 'timestamp':
      return '2031-01-01T00:00:00Z';
    case 'pg_lsn':
      return '0/1000000';
    case 'inet':
      return '192.0.2.1';
    case 'int2':
    case 'int4':
    case 'int8':
    case 'numeric':
    case 'float8':
      return 7;
    default:
      return column.data_type === 'ARRAY' ? '{}' : `row of ${tenantId}`;
  }
}

/**
 * Gives an agency one row in every table that has rows of agencies, whatever the tables are: those of later domains
 * too. All ids are `rowId`, so the rows refer to each other. Checks, triggers and foreign keys are off meanwhile: the
 * rows need not make sense, they must be there.
 */
export async function sampleRows(admin: pg.Client, tenantId: string, rowId: string): Promise<void> {
  for (const table of await tenantTables(admin)) await sampleRow(admin, table, tenantId, rowId);
}

/** The provider's site, to which the sample rows refer; every agency may see it. */
export const sampleSite = (admin: pg.Client, rowId: string): Promise<void> =>
  sampleRow(admin, { schema: 'public', name: 'site', sql: 'public.site' }, rowId, rowId);

async function sampleRow(admin: pg.Client, table: TenantTable, tenantId: string, rowId: string): Promise<void> {
  await admin.query(`SET session_replication_role = replica`);
  const { rows: checks } = await admin.query(
    `SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'c'`,
    [table.sql],
  );
  for (const { conname } of checks) await admin.query(`ALTER TABLE ${table.sql} DROP CONSTRAINT "${conname}"`);
  const { rows: columns } = await admin.query(
    `SELECT column_name, data_type, udt_name, is_nullable FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = $2 AND is_generated = 'NEVER' AND is_identity = 'NO'`,
    [table.schema, table.name],
  );
  const names = (columns as Column[]).map((column) => `"${column.column_name}"`);
  const values = (columns as Column[]).map((column) => valueFor(column, tenantId, rowId));
  const places = values.map((_, index) => `$${index + 1}`);
  await admin.query(
    `INSERT INTO ${table.sql} (${names.join(', ')}) VALUES (${places.join(', ')}) ON CONFLICT DO NOTHING`,
    values,
  );
  await admin.query(`SET session_replication_role = origin`);
}

/** A hash over all rows of an agency in all tables. */
export async function checksum(admin: pg.Client, tenantId: string): Promise<Record<string, string>> {
  const sums: Record<string, string> = {};
  for (const table of await tenantTables(admin)) {
    const { rows } = await admin.query(
      `SELECT count(*) || ' ' || md5(string_agg(t::text, E'\\n' ORDER BY t::text)) AS sum FROM ${table.sql} t WHERE tenant_id = $1`,
      [tenantId],
    );
    sums[table.name] = String(rows[0]?.sum);
  }
  const { rows } = await admin.query(`SELECT md5(a::text) AS sum FROM agency a WHERE id = $1`, [tenantId]);
  return { ...sums, agency: String(rows[0]?.sum) };
}

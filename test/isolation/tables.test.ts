import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { type ControlDatabase, createControlDatabase } from '#test/databases';

/** Tables without policies, each with the reason why it needs none. */
const WITHOUT_POLICIES: Readonly<Record<string, string>> = {
  'public.schema_migration': 'names of migrations; no role but the owner has any right on it',
};
/** The queue's own schema: its tables belong to mainstay_queue, and hold ids of rows, never rows. */
const QUEUE_OWNER = 'mainstay_queue';

/** What the tenant role may read though it is no agency's: with the reason. */
const READABLE_BY_ALL: Readonly<Record<string, string>> = {
  'public.site': 'the sites that an agency can choose from: chosen columns only',
  'public.site_state': 'when a site was last heard: chosen columns only',
};

/** Functions that run with their owner's rights: each must check whom it serves. */
const DEFINER_FUNCTIONS: Readonly<Record<string, string>> = {
  'public.audit_lock_head': 'refuses the tenant role another agency’s log',
  'public.audit_follow': 'a trigger: sees only the row that policies let in',
};

interface Table {
  readonly name: string;
  readonly owner: string;
  readonly secured: boolean;
  readonly forced: boolean;
  readonly has_tenant: boolean;
  readonly tenant_policies: string[];
  readonly policies: number;
  readonly tenant_rights: string[];
}

describe('every table of the control database', () => {
  let database: ControlDatabase;
  let admin: pg.Client;
  let tables: Table[];

  beforeAll(async () => {
    database = await createControlDatabase();
    admin = new pg.Client({ connectionString: database.adminUrl });
    await admin.connect();
    const { rows } = await admin.query(`
      SELECT n.nspname || '.' || c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
             c.relrowsecurity AS secured, c.relforcerowsecurity AS forced,
             EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id') AS has_tenant,
             (SELECT count(*)::int FROM pg_policy WHERE polrelid = c.oid) AS policies,
             ARRAY(SELECT concat_ws(' / ', pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
                    WHERE polrelid = c.oid AND 'mainstay_tenant'::regrole = ANY (polroles)) AS tenant_policies,
             ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p
                    WHERE has_table_privilege('mainstay_tenant', c.oid, p)
                       OR (p IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege('mainstay_tenant', c.oid, p)))
               AS tenant_rights
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
       ORDER BY 1`);
    tables = rows as Table[];
  });
  afterAll(async () => {
    await admin.end();
    await database.drop();
  });

  const ours = (): Table[] => tables.filter(({ name, owner }) => owner !== QUEUE_OWNER && !(name in WITHOUT_POLICIES));

  it('has row-level security, forced, with a policy, or stands on the list with a reason', () => {
    expect(ours().length).toBeGreaterThan(15);
    const bare = ours().filter(({ secured, forced, policies }) => !secured || !forced || policies === 0);
    expect(bare.map(({ name }) => name)).toEqual([]);
  });

  it('without policies gives the tenant role nothing', () => {
    const others = tables.filter(({ name, owner }) => owner === QUEUE_OWNER || name in WITHOUT_POLICIES);
    expect(others.filter(({ tenant_rights }) => tenant_rights.length > 0)).toEqual([]);
  });

  it('that the tenant role may touch is held to the transaction’s agency', () => {
    const open = ours().filter(({ name, tenant_rights, tenant_policies }) => {
      if (tenant_rights.length === 0 || name in READABLE_BY_ALL) return false;
      return tenant_policies.length === 0 || tenant_policies.some((text) => !text.includes('app.tenant_id'));
    });
    expect(open).toEqual([]);
    const readable = ours().filter(({ name }) => name in READABLE_BY_ALL);
    expect(readable.filter(({ tenant_rights }) => tenant_rights.join() !== 'SELECT')).toEqual([]);
  });

  it('gives the tenant role neither TRUNCATE nor triggers, and no right on people', () => {
    const risky = ours().filter(
      ({ name, tenant_rights }) =>
        tenant_rights.some((right) => ['TRUNCATE', 'REFERENCES', 'TRIGGER'].includes(right)) ||
        (name.startsWith('auth.') && tenant_rights.length > 0),
    );
    expect(risky).toEqual([]);
  });

  it('refers to an agency’s rows by (tenant_id, id), so that no foreign key reaches another’s', async () => {
    const { rows } = await admin.query(`
      SELECT con.conrelid::regclass || ' → ' || con.confrelid::regclass AS key
        FROM pg_constraint con
       WHERE con.contype = 'f'
         AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = con.conrelid AND attname = 'tenant_id')
         AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = con.confrelid AND attname = 'tenant_id')
         AND NOT EXISTS (
           SELECT FROM unnest(con.conkey, con.confkey) AS pair(ours, theirs)
             JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = pair.ours AND a.attname = 'tenant_id'
             JOIN pg_attribute b ON b.attrelid = con.confrelid AND b.attnum = pair.theirs AND b.attname = 'tenant_id')`);
    expect(rows).toEqual([]);
  });

  it('is served by roles that no policy passes over', async () => {
    const { rows } = await admin.query(`
      SELECT rolname FROM pg_roles WHERE rolname LIKE 'mainstay_%' AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)`);
    expect(rows).toEqual([]);
    const { rows: views } = await admin.query(`
      SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('v', 'm') AND n.nspname IN ('public', 'auth')
         AND NOT COALESCE('security_invoker=true' = ANY (c.reloptions), false)`);
    expect(views).toEqual([]);
    const { rows: definers } = await admin.query(`
      SELECT n.nspname || '.' || p.proname AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
       WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')`);
    expect(definers.map(({ name }) => name).filter((name: string) => !(name in DEFINER_FUNCTIONS))).toEqual([]);
  });

  it('has no function of ours that everybody may call', async () => {
    const { rows } = await admin.query(`
      SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
       WHERE n.nspname IN ('public', 'auth')
         AND EXISTS (SELECT FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)`);
    expect(rows).toEqual([]);
  });

  it('is out of reach of the queue’s role, which cannot hang the log’s trigger on a table of its own', async () => {
    const queue = new pg.Client({ connectionString: database.queueUrl });
    await queue.connect();
    try {
      await queue.query(
        'CREATE SCHEMA mine; CREATE TABLE mine.entry (tenant_id uuid, number bigint, hash bytea, previous_hash bytea)',
      );
      for (const statement of [
        'CREATE TRIGGER follow AFTER INSERT ON mine.entry FOR EACH ROW EXECUTE FUNCTION public.audit_follow()',
        'SELECT FROM public.agency',
        `SELECT public.audit_lock_head('5f0c2c1e-7d43-4b0e-8d62-0e3a54a5b001')`,
      ]) {
        await expect(queue.query(statement), statement).rejects.toMatchObject({ code: '42501' });
      }
    } finally {
      await queue.end();
    }
  });

  it('lets a role that listens hear no run by its id', async () => {
    const listener = new pg.Client({ connectionString: database.tenantUrl });
    await listener.connect();
    const heard: string[] = [];
    listener.on('notification', ({ payload }) => heard.push(payload ?? ''));
    try {
      await listener.query('LISTEN failover_run');
      const runId = '7c1c3c86-5a0e-4b0c-9d7e-0d5d3c1f0a01';
      await admin.query(`SELECT set_config('session_replication_role', 'replica', false)`);
      await admin.query(`ALTER TABLE run_event ENABLE ALWAYS TRIGGER tell_run`);
      await admin.query(
        `INSERT INTO run_event (tenant_id, run_id, number, at, state, message, evidence) VALUES ($1, $1, 1, now(), 'accepted', '', '{}')`,
        [runId],
      );
      await admin.query(`SELECT set_config('session_replication_role', 'origin', false)`);
      await waitFor('a notification', () => heard.length > 0, { timeoutMs: 10_000, everyMs: 10 });
      expect(heard).toEqual([createHash('sha256').update(runId).digest('hex')]);
    } finally {
      await listener.end();
    }
  });

  it('an agency’s mails are written in that agency’s name, by its own transaction alone', async () => {
    const tenant = new pg.Client({ connectionString: database.tenantUrl });
    await tenant.connect();
    const write = (columns: string, values: string) =>
      tenant.query(`INSERT INTO mail_message (${columns}) VALUES (${values})`);
    try {
      const [elm, oak] = [randomUUID(), randomUUID()];
      await tenant.query(`SELECT set_config('app.tenant_id', $1, false)`, [elm]);
      const columns = 'id, tenant_id, recipient, subject, body';
      await write(columns, `gen_random_uuid(), '${elm}', 'a', 'b', 'c'`);
      for (const owner of [`'${oak}'`, 'NULL']) {
        const forged = write(columns, `gen_random_uuid(), ${owner}, 'a', 'b', 'c'`);
        await expect(forged).rejects.toMatchObject({ code: '42501' });
      }
      // Nor is one written as sent, or one read.
      const sent = write(`${columns}, sent_at`, `gen_random_uuid(), '${elm}', 'a', 'b', 'c', now()`);
      await expect(sent).rejects.toMatchObject({ code: '42501' });
      await expect(tenant.query('SELECT FROM mail_message')).rejects.toMatchObject({ code: '42501' });
    } finally {
      await tenant.end();
    }
  });
});

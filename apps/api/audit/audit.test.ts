import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import pg from 'pg';
import { type AuditEntry, firstBrokenEntry } from '#libs/audit/control';
import { type TestAgency, TestApi } from '#test/api';

describe('the audit log', () => {
  let api: TestApi;
  let agency: TestAgency;
  beforeAll(async () => {
    api = await TestApi.start();
    agency = await api.agency();
  });
  afterAll(() => api.close());

  const exported = async (after = 0): Promise<AuditEntry[]> => {
    const { status, headers, text } = await api.get(`/v1/audit/export?after=${after}`, agency.owner);
    expect([status, headers.get('content-type')]).toEqual([200, 'application/x-ndjson']);
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as AuditEntry);
  };

  it('is a chain without gaps, however many write at once, and an export can be checked by its reader', async () => {
    await Promise.all(Array.from({ length: 12 }, () => api.apiKey(agency.owner, ['agency:read'])));
    const entries = await exported();
    expect(entries.map(({ number }) => number)).toEqual(entries.map((_, index) => index + 1));
    expect(firstBrokenEntry(entries)).toBeNull();
    expect((await exported(entries.length - 3)).map(({ number }) => number)).toEqual(
      entries.slice(-3).map(({ number }) => number),
    );
  });

  it('shows a change, a gap and a swap', async () => {
    const entries = await exported();
    const altered = entries.map((entry) => (entry.number === 3 ? { ...entry, actorName: 'somebody else' } : entry));
    expect(firstBrokenEntry(altered)).toBe(3);
    expect(firstBrokenEntry(entries.filter(({ number }) => number !== 4))).toBe(5);
    expect(firstBrokenEntry([...entries.slice(0, 2), ...entries.slice(2, 4).reverse(), ...entries.slice(4)])).toBe(4);
  });

  it('refuses to be changed, by the application’s roles and by the owner', async () => {
    for (const url of [api.database.tenantUrl, api.database.providerUrl, api.database.ownerUrl]) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.query(`SELECT set_config('app.tenant_id', $1, false)`, [agency.id]);
      for (const statement of [
        `UPDATE audit_entry SET action = 'x'`,
        `DELETE FROM audit_entry`,
        `TRUNCATE audit_entry`,
      ]) {
        const outcome = await client.query(statement).then(
          ({ rowCount }) => rowCount,
          (error: { code: string }) => error.code,
        );
        // The owner is held by the policies too: it sees no row to change.
        expect(['42501', 0], statement).toContain(outcome);
      }
      await client.end();
    }
    expect(firstBrokenEntry(await exported())).toBeNull();
  });

  it('refuses an entry that does not follow the newest', async () => {
    const insert = `INSERT INTO audit_entry (tenant_id, number, at, actor_kind, actor_name, action, subject_kind, detail, previous_hash, hash)
                    VALUES ($1, $2, now(), 'system', 'forger', 'x', 'x', '{}', $3, '\\x00')`;
    const client = new pg.Client({ connectionString: api.database.tenantUrl });
    await client.connect();
    await client.query(`SELECT set_config('app.tenant_id', $1, false)`, [agency.id]);
    const next = (await exported()).length + 1;
    for (const number of [next, next + 1]) {
      await expect(client.query(insert, [agency.id, number, Buffer.alloc(32)])).rejects.toMatchObject({
        code: '23000',
      });
    }
    await client.end();
  });

  it('is written with the change: a refused change leaves no entry', async () => {
    const before = (await exported()).length;
    await api.call('PATCH', `/v1/members/${agency.memberId}`, { token: agency.owner, body: { role: 'auditor' } });
    expect((await exported()).length).toBe(before);
    const { body } = await api.get('/v1/audit?limit=1', agency.owner);
    expect(body.items).toHaveLength(1);
    expect(body.items[0]!.requestId).toMatch(/^[0-9a-f-]{36}$/);
  });
});

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { preflightOrder, protectOrder } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { ControlPlane } from '#test/control-plane';

const WITHIN = { timeoutMs: 60_000, everyMs: 20 };

/** The program as it is installed: what `npm test` has just built. */
describe('the worker process, killed with -9', () => {
  let plane: ControlPlane;
  let home: string;
  let environment: Record<string, string>;
  const running = new Set<ChildProcess>();

  beforeAll(async () => {
    plane = await ControlPlane.start({ worker: false });
    home = await mkdtemp(path.join(tmpdir(), 'mainstay-worker-'));
    environment = { PATH: process.env['PATH'] ?? '', NODE_COMPILE_CACHE: path.join(home, 'cache') };
    for (const [name, value] of Object.entries(plane.workerEnvironment)) {
      const file = path.join(home, name);
      if (name.endsWith('_FILE')) await writeFile(file, value, { mode: 0o600 });
      environment[name] = name.endsWith('_FILE') ? file : value;
    }
  });
  afterAll(async () => {
    for (const child of running) await kill(child);
    await plane.close();
    await rm(home, { recursive: true, force: true });
  });

  const start = (): ChildProcess => {
    const child = spawn(process.execPath, ['dist/apps/worker/main.js'], { env: environment, stdio: 'inherit' });
    running.add(child);
    return child;
  };
  const kill = async (child: ChildProcess): Promise<void> => {
    running.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };

  it('while it applies what a site says: the next one applies it, once', async () => {
    const { api, metro, regional } = plane;
    const agency = await api.agency();
    const agent = await plane.enrol(agency);
    const made = await api.post('/v1/workloads', { name: 'permits', agentId: agent.id }, agency.apiKey);
    const at = `/v1/workloads/${made.body.id}/protection`;
    const begun = await api.post(at, { mode: 'available' }, agency.apiKey);
    expect(begun).toMatchObject({ status: 202, body: { state: 'checking' } });

    // The transaction that applies the answer gets as far as the protection, and no further.
    const holder = new pg.Client({ connectionString: api.database.adminUrl });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE protection IN SHARE MODE');
    const first = start();
    await plane.answerPreflight(agency, begun.body.preflightId, true);
    const applying = () =>
      api.admin.query(`SELECT FROM pg_locks WHERE relation = 'protection'::regclass AND NOT granted`);
    await waitFor('the answer to be half applied', async () => (await applying()).rowCount === 1, WITHIN);
    await kill(first);
    await holder.end();
    // What was half applied is not there.
    await waitFor('the killed one to be noticed', async () => (await applying()).rowCount === 0, WITHIN);
    expect((await api.get(at, agency.apiKey)).body.state).toBe('checking');

    start();
    await plane.until(at, agency.apiKey, ({ state }) => state === 'protecting');
    for (const site of [metro, regional]) await site.ordered(protectOrder, (each) => each.workloadId === made.body.id);
    const { rows } = await api.admin.query(
      `SELECT count(*)::int AS n FROM outgoing_order WHERE tenant_id = $1 AND kind = $2`,
      [agency.id, protectOrder.kind],
    );
    expect(rows).toEqual([{ n: 2 }]);
  });

  it('while a site takes an order: the site has it once, and the next one hears that it has', async () => {
    const { api, metro, regional } = plane;
    const sites = [metro, regional];
    const agency = await api.agency();
    const agent = await plane.enrol(agency);
    const made = await api.post('/v1/workloads', { name: 'permits', agentId: agent.id }, agency.apiKey);
    for (const child of running) await kill(child);
    // The api tries too, right after the commit: nobody is there for it.
    for (const site of sites) await site.cut();
    const asked = await api.post(`/v1/workloads/${made.body.id}/preflights`, undefined, agency.apiKey);
    expect(asked.status).toBe(202);
    const taken = () =>
      sites.flatMap(({ orders }) => orders).filter(({ payload }) => payload['preflightId'] === asked.body.id);
    const state = async () => {
      const { rows } = await api.admin.query<{ state: string }>(
        `SELECT state FROM outgoing_order WHERE tenant_id = $1 AND kind = $2`,
        [agency.id, preflightOrder.kind],
      );
      return rows.map((row) => row.state);
    };
    for (const site of sites) {
      site.silentAbout.add(preflightOrder.kind);
      await site.open();
    }
    const first = start();
    await waitFor('the site to take the order', () => taken().length > 0, WITHIN);
    await kill(first);
    expect(await state()).toEqual(['pending']);

    for (const site of sites) site.silentAbout.clear();
    start();
    await waitFor('the next worker to hear of it', async () => (await state())[0] === 'delivered', WITHIN);
    expect(taken()).toHaveLength(1);
    expect(await state()).toHaveLength(1);
  });
});

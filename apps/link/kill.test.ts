import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LEASE_SECONDS } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { freePort } from '#libs/platform/postgres';
import { LinkUnderTest } from '../../libs/replication/site/link/testing/link-under-test.js';
import { connectClient, NamedServer, TestAgent } from '../../libs/replication/site/link/testing/test-agent.js';

const SOON = { timeoutMs: 30_000, everyMs: 20 };
/** What `npm run build` made; npm's pretest does that before the tests. */
const MAIN = path.resolve('dist/apps/link/main.js');

describe('the link process, killed', () => {
  let site: LinkUnderTest;
  let production: NamedServer;
  let agent: TestAgent;
  let child: ChildProcess | undefined;
  let variables: Record<string, string>;
  const workloadId = randomUUID();
  const tenantId = randomUUID();

  beforeAll(async () => {
    site = await LinkUnderTest.prepare();
    production = await new NamedServer('production').start();
    agent = new TestAgent({ permits: production });
    const secret = async (name: string, text: string): Promise<string> => {
      const file = path.join(site.folder, name);
      await writeFile(file, text, { mode: 0o600 });
      return file;
    };
    variables = {
      SITE_ID: site.siteId,
      SITE_NAME: 'test',
      SITE_DIRECTORY: site.folder,
      SITE_DATABASE_URL: site.database.url,
      LINK_SOCKET: site.settings.linkSocket,
      SITE_SOCKET: site.settings.siteSocket,
      FRONT_DOOR_HOST: '127.0.0.1',
      GATEWAY_HOST: '127.0.0.1',
      GATEWAY_PORT: String(site.port),
      GATEWAY_CERT_FILE: await secret('gateway.crt', site.certificate.certificate),
      GATEWAY_KEY_FILE: await secret('gateway.key', site.certificate.privateKey),
      SITE_PRIVATE_KEY_FILE: await secret('site.key', site.keys.privateKey),
      LOG_LEVEL: 'warn',
    };
  });
  afterAll(async () => {
    child?.kill('SIGKILL');
    await agent?.close();
    await site?.close();
    await production?.close();
  });

  async function startLink(): Promise<void> {
    child = spawn(process.execPath, [MAIN], {
      env: childEnvironment(variables),
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await waitFor('the socket', async () => (await stat(site.settings.linkSocket)).isSocket(), SOON);
  }

  it('says in clear lines what it lacks', async () => {
    const lacking = spawn(process.execPath, [MAIN], {
      env: childEnvironment({ ...variables, GATEWAY_PORT: 'x', SITE_PRIVATE_KEY_FILE: '/nonexistent' }),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    lacking.stderr?.on('data', (part: Buffer) => (said += part.toString()));
    const [code] = (await once(lacking, 'exit')) as [number];
    expect(code).toBe(1);
    expect(said).toContain('GATEWAY_PORT');
    expect(said).toContain('SITE_PRIVATE_KEY_FILE: the file /nonexistent cannot be read');
  });

  it('believes no more after the kill than before, and is the same site again after a restart', async () => {
    // A link in this process makes the rows; it ends before the one under test begins.
    await site.start();
    const doorPort = await freePort();
    await site.admit(agent.agentId, tenantId, agent.identity.publicKey);
    await site.protect({ workloadId, tenantId, agentId: agent.agentId });
    await site.sql(
      `INSERT INTO front_door (workload_id, port, leads_to, client_networks)
        VALUES ($1, $2, 'production', '{127.0.0.1/32}')`,
      [workloadId, doorPort],
    );
    const { sql, lease, results } = reader();
    await site.stop();

    await startLink();
    agent.dial(site.target());
    await waitFor('the lease', async () => (await lease()).armed, SOON);
    const client = await waitFor('the front door', () => throughDoor(doorPort), SOON);

    child?.kill('SIGKILL');
    await waitFor('the end of what ran through it', () => client.ended, SOON);
    const left = await lease();
    expect(left.armedUntil).toBeLessThanOrEqual((agent.pulses.at(-1)?.at ?? 0) + LEASE_SECONDS * 1_000);
    await startLink();
    await waitFor('the agent', () => agent.connected, SOON);
    await waitFor('the next lease', async () => (await lease()).armedUntil > left.armedUntil, SOON);
    const again = await waitFor('the same front door', () => throughDoor(doorPort), SOON);
    again.close();
    expect((await results()).filter(({ state }) => state === 'connected')).toHaveLength(1);
    expect(await sql(`SELECT told_armed AS told FROM armed_lease`)).toEqual([{ told: true }]);
  });

  async function throughDoor(port: number) {
    const client = await connectClient(port);
    return client.greeting === 'production' ? client : undefined;
  }

  /** Reads the rows past the link under test, which is another process. */
  function reader() {
    const sql = async <R>(text: string, values: unknown[] = []): Promise<R[]> => {
      const client = new pg.Client({ connectionString: site.database.url });
      await client.connect();
      try {
        return (await client.query(text, values)).rows as R[];
      } finally {
        await client.end();
      }
    };
    const lease = async (): Promise<{ armed: boolean; armedUntil: number }> => {
      const [row] = await sql<{ armed: boolean; until: Date }>(
        `SELECT armed_until > clock_timestamp() AS armed, armed_until AS until FROM armed_lease WHERE workload_id = $1`,
        [workloadId],
      );
      return { armed: row?.armed ?? false, armedUntil: row?.until?.getTime() ?? 0 };
    };
    const results = async (): Promise<Record<string, unknown>[]> =>
      (
        await sql<{ payload: Record<string, unknown> }>(`SELECT payload FROM site_result WHERE kind = 'agent.link'`)
      ).map(({ payload }) => payload);
    return { sql, lease, results };
  }
});

import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { agentBackup, pulseCommand, pulseRequest } from '#contracts/replication';
import { connectTcp, createIdentity, type LinkRequest, type LinkResponse, TunnelDialer } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { keptDirectory } from '#libs/platform/postgres';
import { BLOCK_BYTES } from '#libs/platform/postgres/backup';
import { ProcessDriver } from '#libs/sites/site';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { ChaosProxy } from '#test/chaos-proxy';
import { LinkUnderTest } from './link/testing/link-under-test.js';
import type { SeedingRecord } from './standby.row.js';

// The child runs what `tools/build.mjs` has made, as the product does.
const CHILD = fileURLToPath(new URL('../../../dist/test/support/site-child.js', import.meta.url));
const MEGABYTE = 1024 * 1024;
const LIMIT = 4 * MEGABYTE;
/** Asked for at once by four workers: a quarter second's worth, and as much of a block as a batch of small files had left. */
const UNDER_WAY_BYTES = 4 * (LIMIT / 4 + BLOCK_BYTES);

const workloadId = randomUUID();
const tenantId = randomUUID();
let agency: TestAgency;
let desk: AgencyDesk;
let link: LinkUnderTest;
let proxy: ChaosProxy;
let dialer: TunnelDialer;
let child: ChildProcess | undefined;
/** Bytes of files that were asked of the agent, before any compression. */
let asked = 0;

beforeAll(async () => {
  agency = await TestAgency.start();
  await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY, note text)');
  await agency.query(`INSERT INTO permit (note)
    SELECT (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 30) m) FROM generate_series(1, 20000) n`);
  desk = await AgencyDesk.open(agency);
  link = await LinkUnderTest.prepare();
  await keptDirectory(link.folder);
  await link.start();
  proxy = new ChaosProxy({ host: '127.0.0.1', port: link.port });
  const identity = createIdentity();
  await link.admit(desk.agentId, tenantId, identity.publicKey);
  dialer = new TunnelDialer({
    agentId: desk.agentId,
    identity,
    version: 'test',
    sites: [link.target(await proxy.listen())],
    handlers: { connectWorkload: () => connectTcp({ host: '127.0.0.1', port: agency.port }), request: answer },
  });
});
afterAll(async () => {
  child?.kill('SIGKILL');
  await dialer?.close();
  const driver = new ProcessDriver({ root: `${link.folder}/standbys`, durable: false });
  await driver.remove(workloadId);
  await proxy?.close();
  await link?.close();
  await desk?.close();
  await agency?.remove();
});

/** The agent's end of the tunnel. */
async function answer(request: LinkRequest): Promise<LinkResponse> {
  const body = await request.json();
  if (request.path === pulseCommand.path) {
    return { json: { instanceId: 'test', workloads: await desk.pulse(pulseRequest.parse(body)) } };
  }
  if (request.path !== agentBackup.read.path) {
    const command = { path: request.path, input: z.unknown(), output: z.unknown() };
    return { json: await desk.commands.call(desk.agentId, command, body, { timeoutMs: 60_000 }) };
  }
  const { ranges } = agentBackup.read.input.parse(body).request;
  asked += ranges.reduce((sum, { length }) => sum + length, 0);
  return { stream: await desk.commands.stream(desk.agentId, request.path, body) };
}

function startSite(): void {
  const home = { siteId: link.siteId, directory: link.folder, url: link.database.url };
  const options = JSON.stringify({ home, dieAt: null });
  child = spawn(process.execPath, [CHILD, options], { stdio: ['ignore', 'ignore', 'inherit'] });
}

const row = async () =>
  (
    await link.sql<{ state: string; seeding: SeedingRecord | null }>(
      'SELECT state, seeding FROM standby WHERE workload_id = $1',
      [workloadId],
    )
  )[0]!;
const progress = (what: string, enough: (seeding: SeedingRecord) => boolean) =>
  waitFor(
    what,
    async () => {
      const { seeding } = await row();
      return seeding !== null && enough(seeding) ? seeding : undefined;
    },
    { timeoutMs: 50_000 },
  );

test(
  'a copy through the tunnel goes on where it was when the line is cut, and when its process is killed with -9',
  { timeout: 240_000 },
  async () => {
    await link.sql(
      `INSERT INTO standby (workload_id, tenant_id, agent_id, workload_name, role, mode, state, epoch, names,
                          bandwidth_bytes_per_second)
     VALUES ($1, $2, $3, $4, 'metro', 'strict', 'preparing', 1, $5, $6)`,
      [workloadId, tenantId, desk.agentId, agency.workload.name, JSON.stringify(TEST_NAMES), LIMIT],
    );
    startSite();
    await progress('a part to be copied', ({ bytesDone }) => bytesDone > 5 * MEGABYTE);
    proxy.cut();
    const resumed = await progress('the copy to go on', ({ attempt }) => attempt === 2);
    expect(resumed.bytesDone).toBeGreaterThan(5 * MEGABYTE);

    const before = await progress('more of it', ({ bytesDone }) => bytesDone > 15 * MEGABYTE);
    child!.kill('SIGKILL');
    await once(child!, 'exit');
    const askedBefore = asked;
    startSite();
    const third = await progress('the copy to go on again', ({ attempt }) => attempt === 3);
    expect(third.bytesDone).toBeGreaterThanOrEqual(before.bytesDone);
    await waitFor('the standby to stream', async () => (await row()).state === 'streaming', { timeoutMs: 90_000 });
    // What is there is not asked for again: only the pieces that were under way at each cut cross the line twice.
    expect(asked - askedBefore).toBeLessThan(before.bytesTotal - before.bytesDone + UNDER_WAY_BYTES);
    expect(asked).toBeLessThan(before.bytesTotal + 2 * UNDER_WAY_BYTES);
    expect(asked).toBeGreaterThan(before.bytesTotal / 2);
  },
);

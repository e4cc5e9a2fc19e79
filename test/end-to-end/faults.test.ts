import pg from 'pg';
import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { withClient } from '#libs/platform/postgres';
import { Traffic } from '../../apps/stack/demo/traffic.js';
import { findLost } from '../../apps/stack/sample/acknowledged-writer.js';
import type { Acceptance, RunView } from '../../apps/stack/sample/continuity-client.js';
import type { ProtectedAgency } from '../../apps/stack/sample/protected-agency.js';
import { RestError } from '../../apps/stack/rest-client.js';
import { StackWorld } from '../support/stack-world.js';

const MINUTES = 60_000;
/** Each test takes an agency from sign-up to armed at two sites first. */
const PATIENCE = { timeout: 5 * MINUTES };
const said: string[] = [];
let world: StackWorld;
let failed = false;

beforeAll(async () => {
  world = await StackWorld.start((line) => said.push(line));
});
afterAll(() => world?.close(failed));

const watch = (): void =>
  onTestFailed(() => {
    failed = true;
    console.error(said.slice(-30).join('\n'));
  });

const trafficOf = (agency: ProtectedAgency): Traffic => {
  const traffic = new Traffic(agency.machine, [{ host: '127.0.0.1', port: agency.machine.port }, agency.frontDoor]);
  traffic.start();
  return traffic;
};

const lostBy = (agency: ProtectedAgency, traffic: Traffic, port = agency.frontDoor.port): Promise<string[]> =>
  withClient(agency.machine.clerk(port), (client) => findLost(client, traffic.writers));

const UNKNOWN: Acceptance = { acceptLoss: { kind: 'unknown' }, oldServer: 'destroyed' };

async function stopControlPlane(): Promise<() => Promise<void>> {
  const { stack } = world;
  await Promise.all([stack.process('api').kill(), stack.process('worker').kill()]);
  const admin = new pg.Client({ connectionString: stack.database.adminUrl });
  await admin.connect();
  const { controlDatabase } = stack.database;
  await admin.query(`ALTER DATABASE ${controlDatabase} ALLOW_CONNECTIONS false`);
  await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [controlDatabase]);
  return async () => {
    await admin.query(`ALTER DATABASE ${controlDatabase} ALLOW_CONNECTIONS true`);
    await admin.end();
    for (const name of ['api', 'worker'] as const) {
      stack.process(name).start();
      await stack.process(name).ready(MINUTES);
    }
  };
}

test(
  'with api, worker and their database gone right after the declaration, the site fails over alone',
  PATIENCE,
  async () => {
    watch();
    const agency = await world.agency('alone');
    const traffic = trafficOf(agency);
    await traffic.more(20);
    await agency.machine.destroy();
    const declared = performance.now();
    const { id } = await agency.client.declare(agency.workloadId, { reason: 'flood' });
    await waitFor('the site to have the order', () => agency.client.run(id).then((run) => run.state !== 'accepted'), {
      timeoutMs: MINUTES,
      everyMs: 5,
    });
    const bringBack = await stopControlPlane();
    await waitFor('a write at the warm site', () => traffic.firstAcknowledgedAt(agency.frontDoor.port, declared), {
      timeoutMs: MINUTES,
    });
    await traffic.stop();
    expect(await lostBy(agency, traffic)).toEqual([]);
    await bringBack();
    const run = await agency.client.finished(id, MINUTES);
    expect(run).toMatchObject({ state: 'completed', report: { loss: { kind: 'none' } } });
  },
);

test(
  'strict: while packets to the metro are dropped no write is acknowledged, and afterwards it is armed again',
  PATIENCE,
  async () => {
    watch();
    const agency = await world.agency('strict-partition');
    const traffic = trafficOf(agency);
    await traffic.more(20);
    world.lines.metro.stall();
    await waitFor(
      'the metro to be called unknown or not armed',
      async () => {
        const view = await agency.client.protection(agency.workloadId);
        return view.metro?.armed !== true;
      },
      { timeoutMs: MINUTES },
    );
    const before = traffic.acknowledged;
    await expect(traffic.more(5, 8_000)).rejects.toThrow();
    expect(traffic.acknowledged).toBe(before);
    world.lines.metro.resume();
    await traffic.more(20, 2 * MINUTES);
    await agency.client.armed(agency.workloadId, () => undefined, 2 * MINUTES);
    await traffic.stop();
    expect(await lostBy(agency, traffic, agency.machine.port)).toEqual([]);
  },
);

test(
  'available: the agency goes on alone when the metro is gone, and a failover then asks and says unknown',
  PATIENCE,
  async () => {
    watch();
    const agency = await world.agency('available-partition', 'available');
    const traffic = trafficOf(agency);
    await traffic.more(20);
    world.lines.metro.stall();
    // The metro is lost first: its promise must run out, and then the agency degrades by itself.
    await traffic.more(40, 2 * MINUTES);
    await agency.machine.destroy();
    world.lines.metro.resume();
    const refused = await agency.client.declare(agency.workloadId, { reason: 'both' }).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(RestError);
    expect(refused).toMatchObject({ status: 409, code: 'failover.loss-not-accepted' });
    const { id } = await agency.client.declare(agency.workloadId, { reason: 'both', ...UNKNOWN });
    const run: RunView = await agency.client.finished(id, 2 * MINUTES);
    expect(run.state).toBe('completed');
    expect(run.report?.loss.kind).not.toBe('none');
    await traffic.more(5, MINUTES);
    await traffic.stop();
  },
);

test(
  'the agent dead while PostgreSQL runs: writes go on acknowledged by the metro until the line closes, none is lost',
  PATIENCE,
  async () => {
    watch();
    const agency = await world.agency('agent-dead');
    const traffic = trafficOf(agency);
    await traffic.more(20);
    agency.machine.agent.signal('SIGKILL');
    await traffic.more(20, 2 * MINUTES);
    await agency.client.armed(agency.workloadId, () => undefined, 2 * MINUTES);
    await traffic.stop();
    expect(await lostBy(agency, traffic, agency.machine.port)).toEqual([]);
  },
);

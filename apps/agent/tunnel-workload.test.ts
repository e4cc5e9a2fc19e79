import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SystemClock } from '#libs/platform/clock';
import { freePort } from '#libs/platform/postgres';
import type { PulseEntry } from '#libs/replication/agent';
import { StateDirectory, type PostgresWorkload } from '#libs/sites/agent';
import { TEST_NAMES } from '#test/agency';
import { pulseEntry } from '#test/pulse';
import { TunnelWorkload } from './tunnel-workload.js';
import { workloadFiles } from './workload-files.js';

let home: string;
let directory: StateDirectory;
/** Nobody listens there: a machine that boots, whose server waits for the gate. */
let configured: PostgresWorkload;
const clock = new SystemClock();
const workloadId = randomUUID();

const entry = (over: Partial<PulseEntry> = {}): PulseEntry => pulseEntry({ workloadId, role: 'regional', ...over });

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-tunnel-'));
  directory = new StateDirectory(home);
  configured = {
    name: 'permits',
    kind: 'postgresql',
    host: '127.0.0.1',
    port: await freePort(),
    user: 'postgres',
    dataDirectory: path.join(home, 'data'),
  };
});

afterAll(async () => {
  await rm(home, { recursive: true, force: true });
});

test('the gate is told nothing before the tunnel has read what it knew, and by a held site nothing either', async () => {
  const unprotected = new TunnelWorkload(configured, directory, clock);
  expect(unprotected.gateState(clock.monotonic())).toBeUndefined();
  await unprotected.begin();
  expect(unprotected.gateState(clock.monotonic())).toBe('unprotected');

  const { protection } = workloadFiles(directory, configured.name);
  await protection.write({ workloadId, mode: 'strict', names: TEST_NAMES });
  const workload = new TunnelWorkload(configured, directory, clock);
  const asked = clock.monotonic();
  expect(workload.gateState(asked)).toBeUndefined();
  await workload.begin();
  expect(workload.gateState(asked)).toBeUndefined();
  await workload.pulse(entry({ confirms: false }));
  expect(workload.gateState(asked)).toBeUndefined();
  await workload.pulse(entry());
  expect(workload.gateState(asked)).toBe('confirmed');
  expect(workload.gateState(clock.monotonic())).toBeUndefined();
});

test('whichever site lets go last takes the protection with it, and a late pulse does not bring it back', async () => {
  const { protection } = workloadFiles(directory, configured.name);
  const workload = new TunnelWorkload(configured, directory, clock);
  await workload.begin();
  await workload.pulse(entry({ role: 'metro' }));
  await workload.pulse(entry());
  const known = { workloadId, mode: 'strict', names: TEST_NAMES };
  // The metro still stands.
  await workload.protection.released('regional', TEST_NAMES);
  expect(await protection.read()).toEqual(known);
  await workload.protection.released('metro', TEST_NAMES);
  await workload.pulse(entry({ role: 'metro' }));
  await workload.pulse(entry());
  expect(await protection.read()).toBeUndefined();

  const next = { ...TEST_NAMES, lease: `mainstay_lease_${'9'.repeat(20)}` };
  await workload.pulse(entry({ role: 'metro', names: next }));
  await workload.protection.released('metro', next);
  await workload.pulse(entry({ role: 'metro', names: next }));
  await workload.pulse(entry({ names: next }));
  expect(await protection.read()).toEqual({ ...known, names: next });
  await workload.protection.released('regional', next);
  await workload.pulse(entry({ names: next }));
  expect(await protection.read()).toBeUndefined();
  expect(workload.gateState(clock.monotonic())).toBe('unprotected');
});

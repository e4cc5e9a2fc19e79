import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SystemClock, waitFor } from '#libs/platform/clock';
import { TEST_NAMES as names, TestAgency } from '#test/agency';
import { judgeArming } from './armed.js';
import { KeptConnection } from './connection.js';
import { LeaderChange } from './leader-change.js';
import { ledBy, Sampler, synchronousNames, otherRole } from './sample.js';

// The children run what `tools/build.mjs` has made, as the product does.
const CHILD = fileURLToPath(new URL('../../../dist/test/support/change-child.js', import.meta.url));
const UNDER_WAY = 'a change of synchronous_standby_names is under way';
const clock = new SystemClock();
let agency: TestAgency;
let connection: KeptConnection;
let sampler: Sampler;

beforeAll(async () => {
  agency = await TestAgency.start();
  connection = new KeptConnection(agency.workload);
  sampler = new Sampler(connection, clock);
  await agency.query(`ALTER SYSTEM SET synchronous_standby_names = '${synchronousNames(names)}'`);
  await agency.query('SELECT pg_reload_conf()');
});
afterAll(async () => {
  await connection?.close();
  await agency?.remove();
});

test('killed with -9 anywhere in a change, one site is left to lead, and nobody is armed before that is filed too', async () => {
  let halves = 0;
  const settle = async (): Promise<void> => {
    const change = new LeaderChange(connection, clock);
    const settled = await waitFor(
      'what holds to be what is filed',
      async () => {
        const sample = await sampler.look();
        const arming = judgeArming(sample, names);
        expect(arming.leader).not.toBeNull();
        expect(ledBy(sample.filedNames, names)).not.toBeNull();
        change.tidy(sample, arming, names);
        const whole = sample.filedNames === sample.synchronousNames && !sample.namesLocked;
        if (!whole) {
          halves++;
          expect(arming).toMatchObject({ armed: false, because: UNDER_WAY });
        }
        return whole && !change.underWay ? arming : undefined;
      },
      { timeoutMs: 15_000 },
    );
    expect(settled.because).toMatch(/^the (metro|regional) site does not stream$/);
  };
  for (let round = 0; round < 24; round++) {
    const before = ledBy((await sampler.look()).synchronousNames, names);
    const options = { workload: agency.workload, names, leader: before };
    const child = spawn(process.execPath, [CHILD, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    let begun = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      // In the middle of another change each time, wherever that has come to when the signal arrives.
      if (line === 'begun' && ++begun > round % 5) break;
    }
    child.kill('SIGKILL');
    await ended;
    await settle();
  }
  // The signals may all have come between two changes: the moment between the filing and its reload is made for certain.
  const leader = ledBy((await sampler.look()).synchronousNames, names) ?? 'metro';
  const other = synchronousNames(names, otherRole(leader));
  await agency.query(`ALTER SYSTEM SET synchronous_standby_names = '${other}'`);
  const seen = halves;
  await settle();
  expect(halves).toBeGreaterThan(seen);
  expect(ledBy((await sampler.look()).synchronousNames, names)).toBe(leader);
}, 240_000);

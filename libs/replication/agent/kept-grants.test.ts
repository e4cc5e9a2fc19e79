import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { armCommand, prepareCommand } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import type { PostgresServer } from '#libs/platform/postgres';
import { DurableValue } from '#libs/sites/agent';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { AheadClock } from '#test/ahead-clock';
import { pulseEntry } from '#test/pulse';
import { grantsRecord, KeptGrants } from './kept-grants.js';

const SOON = { timeoutMs: 15_000 };
const clock = new AheadClock();
const workloadId = randomUUID();
let agency: TestAgency;
let desk: AgencyDesk;
let metro: PostgresServer;

const pulse = async (role: 'metro' | 'regional') =>
  (await desk.pulse({ workloads: [pulseEntry({ workloadId, role })] }))[0]!;
const armed = () => waitFor('the workload to be armed', async () => (await pulse('metro')).armed, SOON);
const grant = () => ({ requestId: randomUUID(), until: clock.monotonic() + 3_600_000 });

beforeAll(async () => {
  agency = await TestAgency.start();
  desk = await AgencyDesk.open(agency, clock);
  const about = { workloadId, workloadName: agency.workload.name, names: TEST_NAMES };
  const { password } = await desk.commands.call(
    desk.agentId,
    prepareCommand,
    { ...about, role: 'metro', freshSlot: false },
    SOON,
  );
  metro = await agency.startStandby(TEST_NAMES, password);
  const arm = () => desk.commands.call(desk.agentId, armCommand, { ...about, mode: 'strict' }, SOON).then(() => true);
  await waitFor('the metro to stream', arm, SOON);
});

afterAll(async () => {
  await desk.close();
  await agency.remove();
});

test('a grant that an answer "armed" has overtaken is worth nothing to a new process either', async () => {
  await armed();
  const [old, later] = [grant(), grant()];
  desk.offer(old);
  await armed();
  // The process that answers "armed" next has not been told of this one.
  desk.offer(later);
  await desk.restart();
  await armed();
  await desk.restart();
  await metro.kill9();
  const degraded = async () => {
    await pulse('regional');
    clock.ahead += 20_000;
    return (await pulse('regional')).degraded;
  };
  for (const each of [old, later]) {
    desk.offer(each);
    expect(await degraded()).toBeNull();
  }
  // A person says it anew, knowing how it stands.
  desk.offer(grant());
  expect(await degraded()).not.toBeNull();
});

test('what is overtaken is kept for the next process, also where the disk was full at first, and not for ever', async () => {
  const folder = path.join(agency.home, 'full');
  const file = path.join(folder, 'grants.json');
  await writeFile(folder, 'no directory');
  const kept = new KeptGrants(new DurableValue(file, grantsRecord));
  await expect(kept.begin()).rejects.toThrow('ENOTDIR');
  const first = randomUUID();
  kept.hear(first);
  kept.overtake();
  await kept.save();
  expect(kept.unsaved).toContain('EEXIST');
  await rm(folder);
  await mkdir(folder);
  await kept.save();
  expect(kept.unsaved).toBeNull();
  const next = new KeptGrants(new DurableValue(file, grantsRecord));
  await next.begin();
  expect(next.isOvertaken(first)).toBe(true);
  for (let count = 0; count < 250; count++) {
    next.hear(randomUUID());
    next.overtake();
  }
  await next.save();
  expect(grantsRecord.parse(JSON.parse(await readFile(file, 'utf8'))).overtaken).toHaveLength(200);
});

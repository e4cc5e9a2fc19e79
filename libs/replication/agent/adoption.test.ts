import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DurableValue } from '#libs/sites/agent';
import { TEST_NAMES as names, TestAgency } from '#test/agency';
import { madeRecord } from './own-objects.js';
import { protectionRecord } from './protection-record.js';
import { settingsRecord } from './server-settings.js';
import { baselineRecord, WorkloadDesk } from './workload-desk.js';

let agency: TestAgency;
const open: WorkloadDesk[] = [];

function deskOf(state: string) {
  const file = (what: string) => path.join(agency.home, state, `${what}.json`);
  const made = new DurableValue(file('made'), madeRecord);
  const protection = new DurableValue(file('protection'), protectionRecord);
  const desk = new WorkloadDesk({
    workload: agency.workload,
    settings: new DurableValue(file('settings'), settingsRecord),
    baseline: new DurableValue(file('baseline'), baselineRecord),
    made,
    protection,
  });
  open.push(desk);
  return { desk, made, protection };
}
const left = async () => {
  const roles = await agency.query<{ name: string }>(
    "SELECT rolname AS name FROM pg_roles WHERE rolname LIKE 'mainstay%'",
  );
  const slots = await agency.query<{ name: string }>('SELECT slot_name AS name FROM pg_replication_slots');
  return [...roles, ...slots].map(({ name }) => name);
};
const makeByHand = async () => {
  await agency.query(`CREATE ROLE ${names.metroRole} LOGIN REPLICATION`);
  await agency.query(`SELECT pg_create_physical_replication_slot('${names.metroSlot}')`);
};

beforeAll(async () => {
  agency = await TestAgency.start();
});
afterAll(async () => {
  for (const desk of open) await desk.close();
  await agency.remove();
});

test('a protection from before there was a record of roles and slots goes on, is prepared anew and leaves nothing', async () => {
  await makeByHand();
  const { desk, made, protection } = deskOf('upgraded');
  await protection.write({ workloadId: randomUUID(), mode: 'strict', names });
  await desk.inTurn((commands) => commands.checkpoint());
  expect(await made.read()).toEqual({ roles: [names.metroRole], slots: [names.metroSlot] });
  await desk.inTurn((commands) => commands.prepare('metro', names, true));
  await desk.inTurn((commands) => commands.release('metro', names));
  expect(await left()).toEqual([]);

  // From then on what it has not made is not its own, whatever is protected.
  await makeByHand();
  const next = deskOf('upgraded').desk;
  await expect(next.inTurn((commands) => commands.release('metro', names))).rejects.toMatchObject({
    code: 'replication.slot-not-ours',
  });
});

test('an agent that protects nothing takes nothing over', async () => {
  const { desk, made } = deskOf('fresh');
  await expect(desk.inTurn((commands) => commands.release('metro', names))).rejects.toMatchObject({
    code: 'replication.slot-not-ours',
  });
  expect(await made.read()).toBeUndefined();
});

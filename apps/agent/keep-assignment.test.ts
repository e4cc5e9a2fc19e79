import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AgentAssignment } from '#contracts/sites';
import { waitFor } from '#libs/platform/clock';
import { createLogger } from '#libs/platform/telemetry';
import { enrol, servedGrants, StateDirectory, type ServedGrants } from '#libs/sites/agent';
import { AgentControl } from '#test/agent-control';
import { ENROL_TOKEN as TOKEN } from '#test/agent-program';
import { AheadClock } from '#test/ahead-clock';
import type { TunnelStatus } from './agent-status.js';
import { AssignmentKeeper } from './keep-assignment.js';
import { openDoor } from './local-door.js';

let home: string;
let directory: StateDirectory;
let control: AgentControl;
let door: { close(): Promise<void> };
const clock = new AheadClock();
const until = new AbortController();
const assignment: AgentAssignment = {
  agentId: randomUUID(),
  tenantId: randomUUID(),
  agencyName: 'Ashby',
  sites: [],
  workloads: [],
  preflights: [],
};
/** What the tunnel was told, newest last. */
const told: ServedGrants[] = [];
const stalled: TunnelStatus = {
  pid: 1,
  instanceId: 'one',
  fingerprint: 'one',
  startedAt: new Date().toISOString(),
  agency: 'Ashby',
  agentId: assignment.agentId,
  links: [],
  workloads: [
    {
      name: 'permits',
      protected: true,
      mode: 'strict',
      armed: false,
      armedSince: null,
      notArmedBecause: 'the metro site does not stream',
      epoch: 1,
      fenced: null,
      divergentTransactions: null,
      alarms: [{ code: 'replication.stalled', what: 'Nothing is acknowledged.', remedy: 'Restore the line.' }],
    },
  ],
};

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-assignment-'));
  directory = new StateDirectory(home);
  control = new AgentControl(TOKEN, () => assignment);
  await enrol({ directory, token: TOKEN, controlUrl: await control.listen(), version: '1' });
  door = await openDoor(directory.tunnelSocket, async ({ url, json }) => {
    if (url.pathname === '/grants') told.push(servedGrants.parse(await json()));
    return { json: url.pathname === '/status' ? stalled : {} };
  });
});

afterAll(async () => {
  until.abort();
  await door.close();
  control.close();
  await rm(home, { recursive: true, force: true });
});

test("a person's grant reaches the tunnel soon while production waits, and is not kept", async () => {
  const log = createLogger({ name: 'agent', level: 'silent' });
  const kept = new AssignmentKeeper({ directory, clock, log }).keep(until.signal);
  const first = await waitFor('the first word', () => told.at(-1), { timeoutMs: 10_000 });
  expect(first.grants).toEqual([]);
  const grant = { workloadId: randomUUID(), requestId: randomUUID(), epoch: 1, secondsLeft: 600 };
  assignment.degradeGrants = [grant];
  const before = clock.monotonic();
  clock.ahead += 15_000;
  const second = await waitFor('the grant', () => told.find(({ grants }) => grants.length > 0), { timeoutMs: 10_000 });
  expect(second.grants).toEqual([grant]);
  // The seconds left count from before the control plane was asked.
  expect(second.askedAt).toBeGreaterThan(before);
  expect(second.askedAt).toBeLessThan(clock.monotonic());
  expect(await readFile(directory.assignment, 'utf8')).not.toContain(grant.requestId);
  until.abort();
  await kept;
});

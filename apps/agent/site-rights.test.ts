import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  archiveCheckCommand,
  beginWorkCommand,
  handExitCommand,
  listTreeCommand,
  lookWorkCommand,
} from '#contracts/archive';
import { fenceCommand, prepareCommand, preflightCommand } from '#contracts/replication';
import { agentAssignment } from '#contracts/sites';
import { TEST_NAMES } from '#test/agency';
import { AheadClock } from '#test/ahead-clock';
import { SiteRights, type SiteRightsOptions } from './site-rights.js';

const siteId = randomUUID();
const workloadId = randomUUID();
const prepare = { workloadId, workloadName: 'permits', role: 'metro', names: TEST_NAMES, freshSlot: false };
const pulse = { workloadName: 'permits', workloadId, role: 'metro', names: TEST_NAMES } as const;
const workloads = [
  { workloadId, name: 'permits', names: { ...TEST_NAMES }, legs: [{ siteId, role: 'metro' as const }] },
];
const preflights = [{ siteId, workloadName: 'permits' }];

/** @param answer what a question to the control plane does */
function rights(
  answer: (rights: SiteRights) => Promise<void>,
  known: SiteRightsOptions['known'] = { workloads: [], preflights: [] },
) {
  const clock = new AheadClock();
  const seen = { questions: 0, refused: 0, doubted: 0 };
  const made: SiteRights = new SiteRights({
    known,
    listed: (name) => name === 'permits',
    ask: () => {
      seen.questions += 1;
      return answer(made);
    },
    clock,
    refused: () => (seen.refused += 1),
    doubted: () => (seen.doubted += 1),
  });
  return { rights: made, clock, seen };
}

test('a preflight that leads to a protection at once costs the protection nothing', async () => {
  const { rights: asked } = rights(async (at) => at.set({ workloads: [], preflights }));
  const ask = { workloadName: 'permits', supportedMajors: [], expectedNames: null };
  await asked.requireCommand(siteId, preflightCommand.path, ask);
  // The order has come to the site before the agent has heard of it, a moment after it was last asked.
  let assigned = false;
  const { rights: later } = rights(async (at) => at.set({ workloads: assigned ? workloads : [], preflights }));
  await later.requireCommand(siteId, preflightCommand.path, ask);
  assigned = true;
  await later.requireCommand(siteId, prepareCommand.path, prepare);
});

test('a command is refused by a question from after it came only, not by what a pulse was told before', async () => {
  let assigned = false;
  const { rights: site, seen } = rights(async (at) => at.set({ workloads: assigned ? workloads : [], preflights: [] }));
  expect(site.refusal(siteId, pulse)).toMatchObject({ final: false });
  assigned = true;
  await site.requireCommand(siteId, prepareCommand.path, prepare);
  expect(seen.questions).toBe(2);
  expect(site.refusal(siteId, pulse)).toBeUndefined();
});

test('a site that goes on asking has the control plane asked ever more rarely, and others are not held up', async () => {
  const { rights: site, clock, seen } = rights(() => Promise.resolve());
  for (let second = 0; second < 300; second++) {
    site.refusal(siteId, pulse);
    await Promise.resolve();
    clock.ahead += 1_000;
  }
  expect(seen.questions).toBeLessThan(15);
  expect(site.refusal(siteId, pulse)).toMatchObject({ final: true });
  const before = seen.questions;
  site.refusal(randomUUID(), pulse);
  expect(seen.questions).toBe(before + 1);
  // What the agent's configuration does not list is nobody's question.
  const unlisted = { ...prepare, workloadName: 'payroll' };
  await expect(site.requireCommand(siteId, prepareCommand.path, unlisted)).rejects.toMatchObject({
    code: 'workload.not-listed',
  });
  expect(seen.questions).toBe(before + 1);
});

test('while the control plane is away, what was assigned counts, and nothing that is allowed waits for it', async () => {
  const never = new Promise<void>(() => undefined);
  const { rights: site, seen } = rights(() => never);
  site.set({ workloads, preflights: [] });
  expect(site.refusal(siteId, pulse)).toBeUndefined();
  await site.requireCommand(siteId, prepareCommand.path, prepare);
  await site.requireStream(siteId, 'permits');
  expect(seen.questions).toBe(0);
  const { rights: cut } = rights(() => Promise.reject(new Error('no way out')));
  await expect(cut.requireStream(siteId, 'permits')).rejects.toThrow('does not answer just now');
});

test('an answer that lacks a workload altogether counts once another one agrees some minutes later', () => {
  const { rights: site, clock, seen } = rights(() => new Promise(() => undefined));
  const lacking = { workloads: [], preflights: [] };
  const served = () => site.allowsStream(siteId, 'permits') && site.refusal(siteId, pulse) === undefined;
  site.set({ workloads, preflights: [] });
  site.set(lacking);
  clock.ahead += 179_000;
  // Asked by a site in between, which proves nothing.
  site.set(lacking);
  expect(served()).toBe(true);
  // It is there again, and the next doubt begins anew.
  site.set({ workloads, preflights: [] });
  clock.ahead += 300_000;
  site.set(lacking);
  expect(served()).toBe(true);
  clock.ahead += 300_000;
  expect(served()).toBe(true);
  site.set(lacking);
  expect(served()).toBe(false);
  expect(seen.doubted).toBe(2);
  // What is said outright counts at once.
  site.set({ workloads, preflights: [] });
  site.set({ workloads: [{ ...workloads[0]!, legs: [] }], preflights: [] });
  expect(served()).toBe(false);
});

test('what an agent of before has saved, or a control plane of before says, shuts no site out', async () => {
  const saved = agentAssignment.parse({
    agentId: randomUUID(),
    tenantId: randomUUID(),
    agencyName: 'Ashby',
    sites: [],
  });
  const { rights: site, seen } = rights(() => Promise.reject(new Error('no way out')), saved);
  const served = () => site.allowsStream(siteId, 'permits') && site.refusal(siteId, pulse) === undefined;
  expect(served()).toBe(true);
  await site.requireCommand(siteId, fenceCommand.path, { workloadId, workloadName: 'permits', epoch: 2 });
  site.set({});
  expect(served()).toBe(true);
  expect(seen.questions).toBe(0);
  site.set({ workloads: [], preflights: [] });
  expect(served()).toBe(false);
  // Known once, it stays known.
  site.set({});
  expect(served()).toBe(false);
});

test('an archive is worked on for the site that the control plane named for it, and for no other right', async () => {
  const look = { workloadId, workloadName: 'permits', workId: randomUUID() };
  const archives = [{ siteId, workloadId, name: 'permits' }];
  const { rights: leg } = rights((at) => Promise.resolve(at.set({ workloads, preflights })));
  await expect(leg.requireCommand(siteId, lookWorkCommand.path, look)).rejects.toMatchObject({
    code: 'agent.site-not-assigned',
  });
  const { rights: archiving } = rights((at) => Promise.resolve(at.set({ workloads: [], preflights: [], archives })));
  await archiving.requireCommand(siteId, lookWorkCommand.path, look);
  await expect(archiving.requireCommand(siteId, prepareCommand.path, prepare)).rejects.toThrow();
  await expect(archiving.requireCommand(randomUUID(), lookWorkCommand.path, look)).rejects.toThrow();
  const nameless = { workloadName: look.workloadName, workId: look.workId };
  await expect(archiving.requireCommand(siteId, lookWorkCommand.path, nameless)).rejects.toThrow();
  // What a control plane of before says of archives is nothing: that is no leave, as it is for legs.
  const { rights: before } = rights(() => Promise.resolve(), {});
  expect(before.allowsStream(siteId, 'permits')).toBe(true);
  await expect(before.requireCommand(siteId, lookWorkCommand.path, look)).rejects.toThrow();
});

test('to a customer-held archive no site brings a password of its own, whatever it asks for; to an escrowed one it must', async () => {
  const about = { workloadId, workloadName: 'permits' };
  const of = (keyMode: 'customer-held' | 'escrowed') => [{ siteId, workloadId, name: 'permits', keyMode }];
  const known = (keyMode: 'customer-held' | 'escrowed') => ({ workloads: [], preflights: [], archives: of(keyMode) });
  const { rights: held } = rights(() => Promise.resolve(), known('customer-held'));
  const { rights: escrowed } = rights(() => Promise.resolve(), known('escrowed'));
  for (const { path } of [beginWorkCommand, listTreeCommand, handExitCommand]) {
    const asked = (password: string | null) => ({ ...about, access: { password } });
    await held.requireCommand(siteId, path, asked(null));
    await expect(held.requireCommand(siteId, path, asked('mine'))).rejects.toThrow(/a password of its own/);
    await escrowed.requireCommand(siteId, path, asked('mine'));
  }
  const check = { ...about, source: 'files' };
  await held.requireCommand(siteId, archiveCheckCommand.path, { ...check, keyMode: 'customer-held' });
  const other = held.requireCommand(siteId, archiveCheckCommand.path, { ...check, keyMode: 'escrowed' });
  await expect(other).rejects.toMatchObject({ code: 'agent.site-not-assigned' });
});

import { randomUUID } from 'node:crypto';
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ArchiveReport, beginWorkCommand, forgetWorkCommand, lookWorkCommand } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { AgentRefusedError, AgentUnreachableError, type SiteCommand } from '#libs/sites/site';
import { AheadClock } from '#test/ahead-clock';
import { ARCHIVE_SETTINGS, type ArchiveSettings, VAULT_AUTHORITY } from '../archive-settings.js';
import { Archives } from '../archives.service.js';
import { Checks } from '../checks/checks.service.js';
import { Tellings } from '../facts/tellings.js';
import { Points, VaultRepositories, VaultService } from '../index.js';
import { Restores } from '../restores/restores.service.js';
import { WorkEngine } from '../runs/work-engine.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { HoldingAgent } from '../testing/holding-agent.js';
import { VaultAddress } from '../vault-address.js';
import { AgentCare } from './agent-care.js';
import { RetentionService } from './retention.service.js';

const signal = new AbortController().signal;
const agent = new HoldingAgent();
let site: CareUnderTest;
let archiveId: string;

beforeAll(async () => {
  site = await CareUnderTest.start({ agents: agent });
  archiveId = await site.archive({ keyMode: 'customer-held' });
  await agent.restic(await access(), 'init');
});
afterAll(() => site.stop());

async function access() {
  const { credentialId, secret } = await site.get(VaultRepositories).issue(archiveId, 'append');
  const url = `https://127.0.0.1:${site.get(VaultService).port}/${archiveId}/`;
  const authority = site.get<string>(VAULT_AUTHORITY as never);
  return { repositoryId: archiveId, url, user: credentialId, secret, authority };
}

async function backup(): Promise<string> {
  const folder = await site.folder({ file: randomUUID() });
  const said = await agent.restic(await access(), 'backup', '--json', folder);
  const { snapshot_id: snapshotId } = JSON.parse(said.trim().split('\n').at(-1) ?? '{}') as { snapshot_id: string };
  const point = { archiveId, snapshotId, runId: randomUUID(), part: null, claimedAt: new Date(), clockDiffers: false };
  const unknown = { files: null, bytes: null, bytesAddedPacked: null, change: null };
  await site.get(SiteUnitOfWork).run((tx) => site.get(Points).upsert(tx, { ...point, ...unknown }));
  return snapshotId;
}

async function askForRestore(restoreId: string): Promise<void> {
  const wish = { restoreId, snapshotId: '0'.repeat(64), paths: [], target: { kind: 'original' }, overwrite: 'never' };
  await site.rows(
    `INSERT INTO archive_restore (restore_id, archive_id, wish, state) VALUES ($1, $2, $3, 'waiting')
     ON CONFLICT DO NOTHING`,
    [restoreId, archiveId, JSON.stringify(wish)],
  );
}

test('what the site cannot read is forgotten and pruned by the agent, under a lease that ends with the work', async () => {
  const old = await backup();
  await site.age(archiveId, 3);
  const newest = await backup();
  await site.get(RetentionService).tend(archiveId, signal);
  expect(agent.told).toEqual([{ kind: 'forget', snapshotIds: [old] }]);
  expect((await site.objects(archiveId, 'snapshots')).map(({ id }) => id)).toEqual([newest]);
  const [given] = agent.accesses;
  expect(given?.password).toBeNull();
  const [credential] = await site.rows<{ role: string; over: boolean }>(
    `SELECT role, ends_at <= clock_timestamp() AS over FROM vault_credential WHERE credential_id = $1`,
    [given?.user],
  );
  expect(credential).toEqual({ role: 'maintain', over: true });
  expect(await site.rows(`SELECT FROM vault_repository WHERE maintained_by IS NOT NULL`)).toEqual([]);
  const keys = await site.rows(`SELECT FROM archive_key_use WHERE archive_id = $1`, [archiveId]);
  expect(keys).toEqual([]);
});

test('its check is the agent’s, with a credential that reads', async () => {
  await site.get(Checks).check(archiveId, signal);
  expect(agent.told.at(-1)).toEqual({ kind: 'check', part: 1, of: 1 });
  const [credential] = await site.rows(`SELECT role FROM vault_credential WHERE credential_id = $1`, [
    agent.accesses.at(-1)?.user,
  ]);
  expect(credential).toEqual({ role: 'read' });
  const report = (await site.results<ArchiveReport>('archive.state')).at(-1);
  expect(report).toMatchObject({ archiveId, checkedShare: 1, damaged: [] });
});

test('what its check finds is an alarm until a check passes: nobody else can see that a pack is gone', async () => {
  const [pack] = await site.objects(archiveId, 'data');
  const kept = path.join(site.directory, 'kept');
  const alarms = async () => {
    await site.get(Checks).check(archiveId, signal);
    await site.get(Tellings).look(archiveId, new Date());
    const report = (await site.results<ArchiveReport>('archive.state')).at(-1);
    return report?.alarms?.map(({ code }) => code);
  };
  await rename(pack?.path ?? '', kept);
  expect(await alarms()).toContain('check-failed');
  await rename(kept, pack?.path ?? '');
  expect(await alarms()).not.toContain('check-failed');
});

test('its part keeps its turn while the agent is away, and is due again after an hour', async () => {
  const rows = () =>
    site.rows(`SELECT part, checked_at, failure FROM archive_check WHERE archive_id = $1`, [archiveId]);
  await site.rows(`UPDATE archive_check SET checked_at = checked_at - interval '2 days' WHERE archive_id = $1`, [
    archiveId,
  ]);
  const before = await rows();
  const due = async () => (await site.get(Checks).due(50)).includes(archiveId);
  expect(await due()).toBe(true);
  const call = agent.call.bind(agent);
  agent.call = () => Promise.reject(new AgentUnreachableError());
  await site.get(Checks).check(archiveId, signal);
  expect(await rows()).toEqual(before);
  expect(await due()).toBe(false);
  agent.call = call;
  await site.get(Checks).check(archiveId, signal);
  expect(agent.told.at(-1)).toEqual({ kind: 'check', part: 1, of: 1 });
  expect(await rows()).not.toEqual(before);
  expect((await site.results<ArchiveReport>('archive.state')).at(-1)).toMatchObject({ archiveId, checkedShare: 1 });
});

test('its check makes way for a restore: the agent, which would refuse that as busy, is free for it', async () => {
  const restoreId = randomUUID();
  const call = agent.call.bind(agent);
  const given: string[] = [];
  let checking: string | undefined;
  agent.call = async (_agentId, command, input) => {
    given.push(command.path);
    if (command.path === beginWorkCommand.path) {
      const begun = beginWorkCommand.input.parse(input);
      if (checking !== undefined) throw new AgentRefusedError('archive.busy', 'Another work is under way.');
      if (begun.work.kind === 'check') checking = begun.workId;
      return command.output.parse({ ok: true });
    }
    if (command.path === lookWorkCommand.path) {
      const { workId } = lookWorkCommand.input.parse(input);
      const state = workId === checking ? 'running' : 'absent';
      // It would go on for hours; a restore is asked for meanwhile.
      if (workId === checking) await askForRestore(restoreId);
      return command.output.parse({ state, progress: null, result: null });
    }
    if (forgetWorkCommand.input.parse(input).workId === checking) checking = undefined;
    return command.output.parse({ ok: true });
  };
  const before = await site.rows(`SELECT * FROM archive_check WHERE archive_id = $1`, [archiveId]);
  await site.get(Checks).check(archiveId, signal);
  await site.get(WorkEngine).advance(site.get(Restores), restoreId, signal);
  agent.call = call;
  expect(given.filter((path) => path === beginWorkCommand.path)).toHaveLength(2);
  const [restore] = await site.rows(`SELECT state, failure FROM archive_restore WHERE restore_id = $1`, [restoreId]);
  expect(restore).toEqual({ state: 'running', failure: null });
  await site.rows(`UPDATE archive_restore SET state = 'cancelled', ended_at = now() WHERE restore_id = $1`, [
    restoreId,
  ]);
  await site.get(Archives).release(archiveId, restoreId);
  // What was not read keeps its turn.
  expect(await site.rows(`SELECT * FROM archive_check WHERE archive_id = $1`, [archiveId])).toEqual(before);
  await site.get(Checks).check(archiveId, signal);
  expect(agent.told.at(-1)).toEqual({ kind: 'check', part: 1, of: 1 });
  expect(await site.rows(`SELECT * FROM archive_check WHERE archive_id = $1`, [archiveId])).not.toEqual(before);
});

test('that nothing can be removed while the agent is away is an alarm after a day of it', async () => {
  await backup();
  await site.age(archiveId, 3);
  await backup();
  const call = agent.call.bind(agent);
  agent.call = () => Promise.reject(new AgentUnreachableError());
  const tend = () => site.get(RetentionService).tend(archiveId, signal);
  for (let n = 0; n < 3; n += 1) await expect(tend()).rejects.toThrow(AgentUnreachableError);
  agent.call = call;
  const failingFor = (hours: number) =>
    site.rows(
      `UPDATE archive SET retention_failing_since = clock_timestamp() - make_interval(hours => $2) WHERE archive_id = $1`,
      [archiveId, hours],
    );
  const alarms = async () => {
    await site.get(Tellings).look(archiveId, new Date());
    const report = (await site.results<ArchiveReport>('archive.state')).at(-1);
    return report?.alarms?.map(({ code }) => code) ?? [];
  };
  await failingFor(23);
  expect(await alarms()).not.toContain('retention-failed');
  await failingFor(25);
  expect(await alarms()).toContain('retention-failed');
  await tend();
  expect(await alarms()).not.toContain('retention-failed');
});

test('an agent that dies in the midst of it is not waited for: the repository is free for a restore elsewhere', async () => {
  const clock = new AheadClock();
  class DyingAgent extends HoldingAgent {
    override call<I, O>(agentId: string, command: SiteCommand<I, O>, input: I): Promise<O> {
      if (command.path !== lookWorkCommand.path) return super.call(agentId, command, input);
      clock.ahead += 200_000;
      return Promise.reject(new AgentUnreachableError());
    }
  }
  const [repositories, vault, logger] = [site.get(VaultRepositories), site.get(VaultService), site.get(AppLogger)];
  const care = new AgentCare(new DyingAgent(), repositories, vault, site.get(VaultAddress), logger, clock);
  const archives = site.get(Archives);
  const archive = await site.get(SiteUnitOfWork).run((tx) => archives.get(tx, archiveId));
  const work = { kind: 'check' as const, part: 1, of: 1 };
  const held = archives.hold(archiveId, 'retention', (lost) => care.run(archive, work, lost), signal);
  await expect(held).rejects.toThrow(AgentUnreachableError);
  expect(await archives.take(archiveId, 'restore', randomUUID())).toBe(true);
  expect(await site.rows(`SELECT FROM vault_repository WHERE maintained_by IS NOT NULL`)).toEqual([]);
});

test('a vault at an IPv6 address is named so that an agent finds it, and a work that it may have begun is ended', async () => {
  const settings = site.get<ArchiveSettings>(ARCHIVE_SETTINGS as never);
  const sixth = { ...settings, vault: { ...settings.vault, host: '2001:db8::7' } };
  const [repositories, vault, logger] = [site.get(VaultRepositories), site.get(VaultService), site.get(AppLogger)];
  const address = new VaultAddress(vault, sixth, 'an authority');
  const calls: string[] = [];
  class ListeningAgent extends HoldingAgent {
    override async call<I, O>(agentId: string, command: SiteCommand<I, O>, input: I): Promise<O> {
      calls.push(command.path);
      if (command.path !== beginWorkCommand.path) return super.call(agentId, command, input);
      this.accesses.push(beginWorkCommand.input.parse(input).access);
      return Promise.reject(new AgentUnreachableError());
    }
  }
  const listening = new ListeningAgent();
  const care = new AgentCare(listening, repositories, vault, address, logger, new AheadClock());
  const archive = await site.get(SiteUnitOfWork).run((tx) => site.get(Archives).get(tx, archiveId));
  await expect(care.run(archive, { kind: 'check', part: 1, of: 1 }, signal)).rejects.toThrow(AgentUnreachableError);
  const url = `https://[2001:db8::7]:${vault.port}/${archiveId}/`;
  expect(listening.accesses).toMatchObject([{ url, authority: 'an authority', password: null }]);
  // Its answer may be all that was lost.
  expect(calls).toEqual([beginWorkCommand.path, forgetWorkCommand.path]);
});

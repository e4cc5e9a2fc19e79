import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { beginWorkCommand, forgetWorkCommand, lookWorkCommand } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import type { SiteCommand } from '#libs/sites/site';
import { VAULT_AUTHORITY } from '../archive-settings.js';
import { Archives } from '../archives.service.js';
import { Points, VaultRepositories, VaultService } from '../index.js';
import { RetentionService } from '../retention/retention.service.js';
import { HoldingAgent } from '../testing/holding-agent.js';
import { TwoSites } from '../testing/two-sites.js';
import { Copies } from './copies.service.js';
import { CopyForgetting } from './copy-forgetting.service.js';

/** One that can be made to take for ever at what it is told. */
class SlowAgent extends HoldingAgent {
  readonly given: string[] = [];
  /** Called with each look at work that does not end. */
  atWork: (() => Promise<unknown>) | undefined;

  override async call<I, O>(agentId: string, command: SiteCommand<I, O>, input: I): Promise<O> {
    this.given.push(command.path);
    if (!this.atWork || command.path === forgetWorkCommand.path) return super.call(agentId, command, input);
    if (command.path !== lookWorkCommand.path) return command.output.parse({ ok: true });
    await this.atWork();
    return command.output.parse({ state: 'running', progress: null, result: null });
  }
}

const { signal } = new AbortController();
const agent = new SlowAgent();
let sites: TwoSites;
let archiveId: string;

beforeAll(async () => {
  sites = await TwoSites.start(agent);
  archiveId = await sites.archive({ keyMode: 'customer-held' });
  await agent.restic(await access(), 'init');
});
afterAll(() => sites.stop());

async function access() {
  const { first } = sites;
  const { credentialId, secret } = await first.get(VaultRepositories).issue(archiveId, 'append');
  const url = `https://127.0.0.1:${first.get(VaultService).port}/${archiveId}/`;
  const authority = first.get<string>(VAULT_AUTHORITY as never);
  return { repositoryId: archiveId, url, user: credentialId, secret, authority };
}

async function backup(): Promise<string> {
  const folder = await sites.first.folder({ file: randomBytes(100_000) });
  const said = await agent.restic(await access(), 'backup', '--json', folder);
  const { snapshot_id: snapshotId } = JSON.parse(said.trim().split('\n').at(-1) ?? '{}') as { snapshot_id: string };
  const point = { archiveId, snapshotId, runId: randomUUID(), part: null, claimedAt: new Date(), clockDiffers: false };
  const unknown = { files: null, bytes: null, bytesAddedPacked: null, change: null };
  const { first } = sites;
  await first.get(SiteUnitOfWork).run((tx) => first.get(Points).upsert(tx, { ...point, ...unknown }));
  return snapshotId;
}

test('the second copy of what the site cannot read is tidied by the agent, under a lease of its keeper that ends with it', async () => {
  const old = await backup();
  await sites.first.age(archiveId, 3);
  const newest = await backup();
  await sites.first.get(Copies).replicate(archiveId, signal);
  await sites.first.get(RetentionService).tend(archiveId, signal);
  const before = (await sites.second.objects(archiveId, 'data')).length;
  await sites.second.age(archiveId, 3);
  const archive = await sites.first.get(SiteUnitOfWork).run((tx) => sites.first.get(Archives).get(tx, archiveId));
  sites.first.get(CopyForgetting).again(archiveId);
  await sites.first.get(CopyForgetting).follow(archive, signal);
  expect(agent.told.at(-1)).toEqual({ kind: 'forget', snapshotIds: [old], ofCopy: true });
  expect((await sites.second.objects(archiveId, 'snapshots')).map(({ id }) => id)).toEqual([newest]);
  expect((await sites.second.objects(archiveId, 'data')).length).toBeLessThan(before);
  expect(agent.accesses.at(-1)).toMatchObject({ repositoryId: archiveId, password: null });
  expect(await sites.second.rows(`SELECT FROM vault_repository WHERE maintained_by IS NOT NULL`)).toEqual([]);
  expect(await sites.second.rows(`SELECT FROM vault_credential WHERE ends_at > clock_timestamp()`)).toEqual([]);
});

test('an agent that is needed for a restore does not tidy, and one that tidies stops for it', async () => {
  const old = await backup();
  await sites.first.age(archiveId, 3);
  await backup();
  await sites.first.get(Copies).replicate(archiveId, signal);
  await sites.first.get(RetentionService).tend(archiveId, signal);
  expect((await sites.second.objects(archiveId, 'snapshots')).map(({ id }) => id)).toContain(old);
  const archive = await sites.first.get(SiteUnitOfWork).run((tx) => sites.first.get(Archives).get(tx, archiveId));
  const follow = async () => {
    agent.given.length = 0;
    sites.first.get(CopyForgetting).again(archiveId);
    await sites.first.get(CopyForgetting).follow(archive, signal);
  };
  const credentials = () => sites.second.rows(`SELECT credential_id FROM vault_credential`);
  const restored = () =>
    sites.first.rows(`UPDATE archive_restore SET state = 'completed', ended_at = clock_timestamp()`);
  const restore = () =>
    sites.first.rows(
      `INSERT INTO archive_restore (restore_id, archive_id, wish, state) VALUES ($1, $2, '{}', 'waiting')
       ON CONFLICT DO NOTHING`,
      [archiveId, archiveId],
    );
  await restore();
  const before = await credentials();
  await follow();
  expect(agent.given).toEqual([]);
  expect(await credentials()).toEqual(before);
  await restored();

  agent.atWork = () => sites.first.rows(`UPDATE archive_restore SET state = 'waiting', ended_at = NULL`);
  await follow();
  expect(agent.given.at(0)).toBe(beginWorkCommand.path);
  expect(agent.given.at(-1)).toBe(forgetWorkCommand.path);
  expect(await sites.second.rows(`SELECT FROM vault_repository WHERE maintained_by IS NOT NULL`)).toEqual([]);
  agent.atWork = undefined;
  await restored();

  // Not again at once.
  agent.given.length = 0;
  await sites.first.get(CopyForgetting).follow(archive, signal);
  expect(agent.given).toEqual([]);
});

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { beginWorkCommand, type RepositoryAccess } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AgentRefusedError, type SiteCommand } from '#libs/sites/site';
import { Archives } from '../archives.service.js';
import { AgentCare } from '../retention/agent-care.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { HoldingAgent } from '../testing/holding-agent.js';
import { AgentWorks } from './agent-works.js';

/** One of before keys were hinted at, which refuses a command with a field that it does not know. */
class OlderAgent extends HoldingAgent {
  readonly begun: RepositoryAccess[] = [];

  override async call<I, O>(agentId: string, command: SiteCommand<I, O>, input: I): Promise<O> {
    if (command.path !== beginWorkCommand.path) return super.call(agentId, command, input);
    const { access, work } = beginWorkCommand.input.parse(input);
    if ('keyHint' in access) throw new AgentRefusedError('agent.command-invalid', 'Unrecognized key: "keyHint"');
    this.begun.push(access);
    if (work.kind !== 'backup') return super.call(agentId, command, input);
    if (work.tags.includes('refused')) throw new AgentRefusedError('agent.command-invalid', 'Unrecognized tag');
    return command.output.parse({ ok: true });
  }
}

const { signal } = new AbortController();
const agent = new OlderAgent();
let site: CareUnderTest;
let archiveId: string;

beforeAll(async () => {
  site = await CareUnderTest.start({ agents: agent });
  archiveId = await site.archive({ keyMode: 'customer-held' });
  const works = site.get(AgentWorks);
  const archive = await archiveOf(archiveId);
  await agent.restic(await works.access(archive, await works.credential(archiveId, 'append'), 'the first run'), 'init');
  expect(await works.access(archive, await works.credential(archiveId, 'append'), 'a look')).toHaveProperty('keyHint');
});
afterAll(() => site.stop());

const archiveOf = (archiveId: string) => site.get(SiteUnitOfWork).run((tx) => site.get(Archives).get(tx, archiveId));
const backup = (tags: string[]) => {
  const limits = { bandwidthBytesPerSecond: null };
  return { kind: 'backup' as const, source: 'files' as const, excludes: [], limits, previous: [], tags };
};

test('an agent that has not been updated yet is told to begin without what only newer ones know', async () => {
  const works = site.get(AgentWorks);
  const archive = await archiveOf(archiveId);
  const begin = async (tags: string[]) =>
    works.begin(archive, randomUUID(), backup(tags), await works.credential(archiveId, 'append'));
  await begin([]);
  expect(agent.begun).toHaveLength(1);
  // What it refuses then, too, it cannot do.
  await expect(begin(['refused'])).rejects.toMatchObject({ code: 'agent.command-invalid' });
});

test('so it is where it alone has the key, and checks', async () => {
  const result = await site.get(AgentCare).run(await archiveOf(archiveId), { kind: 'check', part: 1, of: 1 }, signal);
  expect(result).toMatchObject({ state: 'completed' });
});

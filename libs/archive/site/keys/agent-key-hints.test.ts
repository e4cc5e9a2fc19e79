import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CustomerKey } from '#libs/archive/agent';
import { ArchiveSite } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';

/** restic tries so many keys, and gives up at the first that is none. */
const JUNK = 25;
let site: ArchiveSite;
let home: string;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-hints-'));
  await writeFile(path.join(home, 'permit'), 'a permit');
  site = await ArchiveSite.start();
});
afterAll(async () => {
  await site?.close();
  await rm(home, { recursive: true, force: true });
});

const keysOf = (archiveId: string) => path.join(site.home.directory, 'archive', 'vault', archiveId, 'keys');
/** What a thief can add with a stolen credential. */
async function addJunk(archiveId: string): Promise<void> {
  for (let number = 0; number < JUNK; number += 1) {
    const junk = `junk ${number}`;
    await writeFile(path.join(keysOf(archiveId), createHash('sha256').update(junk).digest('hex')), junk);
  }
}

test.each(['escrowed', 'customer-held'] as const)(
  'junk among the keys closes an archive to its agent in no way: %s',
  async (keyMode) => {
    const workloads = [{ name: keyMode, kind: 'files', paths: [path.join(home, 'permit')] }];
    const agent = await AgentUnderTest.start(workloads);
    const machine = await AgentUnderTest.start(workloads);
    try {
      const agentId = site.tunnel.connect(agent);
      const archive = await site.archive(agentId, keyMode, { keyMode, paused: true });
      expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed' });
      await addJunk(archive.archiveId);
      expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed', failure: null });
      // A new machine has the password from the safe, and no more: the site knows which key came first.
      const held = await new CustomerKey(agent.state, keyMode).read();
      if (held) await new CustomerKey(machine.state, keyMode).keep(held.password);
      site.tunnel.connect(machine, agentId);
      expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed', failure: null });
      const known = await new CustomerKey(machine.state, keyMode).read();
      if (held) expect(await readdir(keysOf(archive.archiveId))).toContain(known?.key);
    } finally {
      await agent.remove();
      await machine.remove();
    }
  },
);

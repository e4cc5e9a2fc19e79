import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { beginWorkCommand, forgetWorkCommand, lookWorkCommand, runResult } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { ArchiveSite, type KnownArchive } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';

// The children run what `tools/build.mjs` has made, as the product does.
const CHILD = fileURLToPath(new URL('../../../../dist/test/support/archive-site-child.js', import.meta.url));
const SOON = { timeoutMs: 55_000, everyMs: 100 };
let site: ArchiveSite;
let agent: AgentUnderTest;
let home: string;
let archive: KnownArchive;
let log = '';
const passwords: string[] = [];

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-killed-'));
  const share = path.join(home, 'share');
  await mkdir(share);
  for (let number = 0; number < 20; number += 1) await writeFile(path.join(share, `${number}`), randomBytes(400_000));
  agent = await AgentUnderTest.start([{ name: 'share', kind: 'files', paths: [share] }]);
  const carryOut = agent.carryOut.bind(agent);
  agent.carryOut = (command, body) => {
    if (command === beginWorkCommand.path) {
      const { access } = beginWorkCommand.input.parse(body);
      passwords.push(access.secret, access.password ?? '');
    }
    return carryOut(command, body);
  };
  site = await ArchiveSite.start();
  archive = await site.archive(site.tunnel.connect(agent), 'share', { paused: true });
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});

function startChild(): ChildProcess {
  const child = spawn(process.execPath, [CHILD, JSON.stringify(site.home)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: childEnvironment({}),
  });
  child.stdout.on('data', (text: Buffer) => (log += text.toString()));
  return child;
}

test('the site is killed with -9 around every command of a run, and the run goes on each time', async () => {
  await site.stop();
  await site.run(false);
  const runId = await site.request(archive);
  await site.stop();
  // Before the agent hears of it, and after it has done it and nobody hears.
  const deaths = [beginWorkCommand, lookWorkCommand, forgetWorkCommand].flatMap(({ path: command }) => [
    { command, heard: false },
    { command, heard: true },
  ]);
  for (const { command, heard } of deaths) {
    const child = startChild();
    const dead = once(child, 'exit');
    const carryOut = agent.carryOut.bind(agent);
    let met = false;
    agent.carryOut = async (asked, body) => {
      if (asked !== command) return carryOut(asked, body);
      agent.carryOut = carryOut;
      if (heard) await carryOut(asked, body);
      child.kill('SIGKILL');
      await dead;
      met = true;
      return { ok: true };
    };
    await waitFor('the command to be met', () => met, SOON);
  }
  await site.run();
  const run = await site.ended(runId);
  expect(run).toMatchObject({ state: 'completed', failure: null });
  expect(await site.points(archive)).toHaveLength(1);
  expect((await site.results(runResult)).filter(({ endedAt }) => endedAt !== null)).toHaveLength(1);
  const open = () =>
    site.rows(`SELECT FROM vault_credential WHERE role = 'append' AND (ends_at IS NULL OR ends_at > now())`);
  await waitFor('all credentials to have ended', async () => (await open()).length === 0, SOON);
  const [row] = await site.rows<{ work: string | null }>(`SELECT work_id AS work FROM archive`);
  expect(row?.work).not.toBe(runId);
  expect(log).toContain('the vault is open');
  for (const password of passwords) expect(log.includes(password)).toBe(false);
});

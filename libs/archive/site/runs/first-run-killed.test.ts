import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findRestic } from '#libs/archive/agent';
import { ArchiveSite } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';

/** Where restic is killed while it makes the repository: it adds the key first, and the config after it. */
const MOMENTS = ['before-the-key', 'before-the-config', 'at-its-end'] as const;
let site: ArchiveSite;
let home: string;
let vault: string;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-first-run-'));
  await writeFile(path.join(home, 'permit'), 'a permit');
  site = await ArchiveSite.start();
  vault = path.join(site.home.directory, 'archive', 'vault');
});
afterAll(async () => {
  await site?.close();
  await rm(home, { recursive: true, force: true });
});

/** restic as it is, but that it dies while it makes the repository that `once` names. */
async function mortalRestic(moment: string, once: string): Promise<string> {
  const { file } = await findRestic(undefined);
  const program = path.join(home, `restic-${moment}`);
  const lines = [
    '#!/bin/sh',
    `case " $* " in *" init "*) if [ -e ${once} ]; then id=$(cat ${once}); rm ${once}`,
    moment === 'before-the-key' ? '' : `"${file}" "$@"`,
    moment === 'before-the-config' ? `rm ${vault}/$id/config` : '',
    'kill -9 $$; fi;; esac',
    `exec "${file}" "$@"`,
  ];
  await writeFile(program, lines.join('\n'), { mode: 0o755 });
  return program;
}

test.each(MOMENTS)('a customer-held archive whose first run was killed %s gets on at the next', async (moment) => {
  const workloads = [{ name: moment, kind: 'files', paths: [path.join(home, 'permit')] }];
  const once = path.join(home, moment);
  const restic = await mortalRestic(moment, once);
  const killed = await AgentUnderTest.start(workloads, { restic });
  let next: AgentUnderTest | undefined;
  try {
    const agentId = site.tunnel.connect(killed);
    const archive = await site.archive(agentId, moment, { keyMode: 'customer-held', paused: true });
    await writeFile(once, archive.archiveId);
    expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'failed' });
    const left = await readdir(path.join(vault, archive.archiveId)).catch((): string[] => []);
    expect(left.includes('config')).toBe(moment === 'at-its-end');
    await killed.stop();
    next = await AgentUnderTest.start(workloads, { restic }, killed.home);
    site.tunnel.connect(next, agentId);
    expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed', failure: null });
    expect(await site.points(archive)).toHaveLength(1);
  } finally {
    await killed.remove();
    await next?.remove();
  }
});

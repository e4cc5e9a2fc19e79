import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listTreeCommand } from '#contracts/archive';
import { StateDirectory } from '#libs/sites/agent';
import { AgentUnderTest, backupOf, secureVault, TestArchive, type TestAuthority } from '#test/archiving-agent';
import { CustomerKey, newPassword } from './customer-key.js';

const NAME = 'share';
let place: TestAuthority;
let home: string;

beforeAll(async () => {
  [place, home] = await Promise.all([secureVault(), mkdtemp(path.join(tmpdir(), 'mainstay-customer-key-'))]);
});
afterAll(async () => {
  await place.vault.stop();
  await rm(home, { recursive: true, force: true });
});

test('what is learnt of a password never puts it in the place of the one that has replaced it', async () => {
  const state = new StateDirectory(path.join(home, 'state'));
  for (let round = 0; round < 20; round += 1) {
    const [before, after] = [await new CustomerKey(state, NAME).make(), newPassword()];
    await Promise.all([
      new CustomerKey(state, NAME).learn(before, 'a'.repeat(64)),
      new CustomerKey(state, NAME).replace(after, 'b'.repeat(64), randomUUID()),
    ]);
    expect(await new CustomerKey(state, NAME).read()).toMatchObject({ password: after, key: 'b'.repeat(64) });
  }
});

test('a password that is put in where one is held changes nothing of it, and of two at once one stays', async () => {
  const state = new StateDirectory(path.join(home, 'put'));
  const [first, second] = [newPassword(), newPassword()];
  const answers = await Promise.all([first, second].map((each) => new CustomerKey(state, NAME).keep(each)));
  const { password } = (await new CustomerKey(state, NAME).read())!;
  expect(answers.map((held) => held.password)).toEqual([password, password]);
  expect(await readdir(path.dirname(new CustomerKey(state, NAME).file))).toHaveLength(1);
  await new CustomerKey(state, NAME).replace(second, 'b'.repeat(64), randomUUID());
  const rotated = await new CustomerKey(state, NAME).read();
  for (const each of [first, second]) expect(await new CustomerKey(state, NAME).keep(each)).toEqual(rotated);
  expect(await new CustomerKey(state, NAME).make()).toBe(second);
  expect(await new CustomerKey(state, NAME).read()).toEqual(rotated);
});

test('a listing that a rotation overtakes does not take the old key for that of the new password', async () => {
  const archive = await TestArchive.open(place, 'customer-held');
  const program = path.join(home, 'restic');
  await writeFile(program, '#!/bin/sh\nexec restic "$@"\n');
  await chmod(program, 0o755);
  const agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }], { restic: program });
  try {
    const [{ id: snapshotId } = { id: '' }] = (await agent.work(archive, NAME, backupOf('files'))).snapshots;
    const key = new CustomerKey(agent.state, NAME);
    const { password } = (await key.read())!;
    // As from a safe: which key it opens is not known yet.
    await rm(key.file);
    await key.keep(password);
    const replaced = path.join(home, 'replaced');
    await writeFile(replaced, JSON.stringify({ password: newPassword(), since: new Date().toISOString() }));
    await writeFile(
      program,
      `#!/bin/sh\ncase "$*" in *"key list"*) cp '${replaced}' '${key.file}';; esac\nexec restic "$@"\n`,
    );
    const about = { workloadId: archive.workloadId, workloadName: NAME, access: archive.access };
    await agent.ask(listTreeCommand, { ...about, snapshotId, path: home, after: null, limit: 10 });
    const held = await key.read();
    expect(held?.password).not.toBe(password);
    expect(held?.key).toBeUndefined();
  } finally {
    await agent.remove();
  }
});

test('what restic says of a password that only the agency holds, or that is about to be held, leaves no machine', async () => {
  const archive = await TestArchive.open(place, 'customer-held');
  const program = path.join(home, 'talkative');
  await writeFile(program, '#!/bin/sh\nexec restic "$@"\n');
  await chmod(program, 0o755);
  const agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }], { restic: program });
  const told = async (work: Parameters<AgentUnderTest['work']>[2]) =>
    (await agent.work(archive, NAME, work)).failure?.message ?? '';
  const saying = (option: string, word: string) =>
    writeFile(
      program,
      `#!/bin/sh\ncase "$*" in *"${word}"*) for a in "$@"; do case "$a" in --${option}=*) echo "it says $(cat "\${a#*=}") here" >&2; exit 1;; esac; done;; esac\nexec restic "$@"\n`,
    );
  try {
    const made = await saying('password-file', 'init').then(() => told(backupOf('files')));
    expect(made).toContain('it says *** here');
    await writeFile(program, '#!/bin/sh\nexec restic "$@"\n');
    expect(await told(backupOf('files'))).toBe('');
    const { password } = (await new CustomerKey(agent.state, NAME).read())!;
    for (const [option, word, work] of [
      ['password-file', 'check', { kind: 'check', part: 1, of: 1 }],
      ['new-password-file', 'key add', { kind: 'rotate', rotationId: randomUUID() }],
    ] as const) {
      await saying(option, word);
      const message = await told(work);
      expect(message).toContain('it says *** here');
      expect(message).not.toContain(password);
    }
  } finally {
    await agent.remove();
  }
});

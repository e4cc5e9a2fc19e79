import { spawn } from 'node:child_process';
import { mkdir, readdir, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { numberedIdentity, processesOfUser, runAs } from '#libs/platform/postgres';
import { testFolder } from '#libs/platform/postgres/testing';
import { WorkloadUsers } from './workload-users.js';

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
// Neither given away by the system nor by a site of this host.
const range = { first: 61_200, last: 61_203 };

describe.skipIf(!isRoot)('where the site’s process is root', () => {
  let folder: string;
  let users: WorkloadUsers;
  beforeAll(async () => {
    folder = await testFolder('users');
    users = new WorkloadUsers(range, path.join(folder, 'uids'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const places = (name: string) => ({ home: path.join(folder, name), volume: path.join(folder, `${name}-volume`) });
  const claim = async (name: string) => {
    await mkdir(places(name).home, { recursive: true });
    return (await users.ensure(places(name))).uid;
  };

  test('each workload gets the first number that nobody has and nothing runs as, and the same when asked again', async () => {
    const left = spawn('/bin/sleep', ['600'], { stdio: 'ignore', ...runAs(numberedIdentity(range.first + 1)) });
    await waitFor('it to run', async () => (await processesOfUser(range.first + 1)).length > 0, { timeoutMs: 10_000 });
    expect([await claim('a'), await claim('b'), await claim('a')]).toEqual([61_200, 61_202, 61_200]);
    left.kill('SIGKILL');
    await waitFor('it to end', async () => (await processesOfUser(range.first + 1)).length === 0, {
      timeoutMs: 10_000,
    });
    expect([await claim('c'), await claim('d')]).toEqual([61_201, 61_203]);
  });

  test('when all are given away a person is told; what a removed workload had is given anew', async () => {
    await expect(claim('e')).rejects.toMatchObject({ code: 'driver.host' });
    await rm(places('b').home, { recursive: true });
    expect(await claim('e')).toBe(61_202);
    await users.release(places('c').home);
    expect(await claim('f')).toBe(61_201);
    expect((await readdir(path.join(folder, 'uids'))).sort()).toEqual(['61200', '61201', '61202', '61203']);
  });

  test('a workload whose folder cannot be looked at keeps its number', async () => {
    await users.release(places('a').home);
    expect(await claim('disk/g')).toBe(61_200);
    const disk = path.join(folder, 'disk');
    await rm(disk, { recursive: true });
    await symlink(disk, disk);
    await expect(claim('h')).rejects.toMatchObject({ code: 'driver.host' });
  });
});

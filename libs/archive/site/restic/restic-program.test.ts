import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ResticProgram } from './restic-program.js';

const run = promisify(execFile);
const asRoot = process.getuid?.() === 0;
const NOBODY = 60_705;
let home: string;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-program-'));
  await chmod(home, 0o755);
});
afterAll(() => rm(home, { recursive: true, force: true }));

async function resticIn(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const own = await new ResticProgram(null, null).path();
  await copyFile(own, path.join(folder, 'restic'));
  return path.join(folder, 'restic');
}

test.runIf(asRoot)(
  'a restic below a folder that others may not pass runs from a copy, which is read again',
  async () => {
    const closed = path.join(home, 'closed');
    const program = await resticIn(path.join(closed, 'checkout', 'tools'));
    await chmod(closed, 0o700);
    const copies = path.join(home, 'site', 'programs');
    const found = await new ResticProgram(program, copies).path();
    expect(path.dirname(found)).toBe(copies);
    expect((await run(found, ['version'], { uid: NOBODY, gid: NOBODY, cwd: '/' })).stdout).toContain('restic');
    // Changed by whomever, or of a former version: neither is run.
    await writeFile(found, 'something else');
    await writeFile(path.join(copies, 'restic-of-before'), 'x');
    expect(await new ResticProgram(program, copies).path()).toBe(found);
    expect((await run(found, ['version'], { uid: NOBODY, gid: NOBODY, cwd: '/' })).stdout).toContain('restic');
    expect(await readdir(copies)).toEqual([path.basename(found)]);
  },
);

test('one that everybody may run is run where it lies', async () => {
  const program = await resticIn(path.join(home, 'open'));
  await chmod(program, 0o755);
  expect(await new ResticProgram(program, path.join(home, 'unused')).path()).toBe(program);
});

import { chmod, mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Installation, InstallationError } from './installation.js';

describe('the folder of the sockets', () => {
  let home: string;
  let installation: Installation;
  beforeEach(async () => {
    home = await mkdtemp(path.join(tmpdir(), 'mainstay-installation-'));
    installation = await Installation.open(home);
  });
  afterEach(async () => {
    await rm(installation.socketDirectory, { recursive: true, force: true });
    await rm(home, { recursive: true });
  });

  it('is made for its owner alone, and taken over at the next start', async () => {
    const directory = await installation.ensureSocketDirectory();
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect(await installation.ensureSocketDirectory()).toBe(directory);
  });

  it('is refused when somebody else could have put something there', async () => {
    await mkdir(installation.socketDirectory);
    await chmod(installation.socketDirectory, 0o777);
    await expect(installation.ensureSocketDirectory()).rejects.toThrow(InstallationError);
    await rm(installation.socketDirectory, { recursive: true });
    const elsewhere = await mkdtemp(path.join(tmpdir(), 'mainstay-elsewhere-'));
    await symlink(elsewhere, installation.socketDirectory);
    await expect(installation.ensureSocketDirectory()).rejects.toThrow(InstallationError);
    await rm(elsewhere, { recursive: true });
  });
});

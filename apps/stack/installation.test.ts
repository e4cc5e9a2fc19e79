import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
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

it('is called damaged only when it cannot be understood: a disk that takes no file is another matter', async () => {
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-installation-'));
  try {
    const file = (await Installation.open(home)).secretFile('installation.json');
    const record = await readFile(file, 'utf8');
    // As one from before there were vaults, which gets their ports now.
    await writeFile(file, record.replaceAll(/"vaultPort": \d+/g, '"vaultPort": 0'));
    await mkdir(`${file}.half`);
    await expect(Installation.open(home)).rejects.toThrow('EISDIR');
    await rm(`${file}.half`, { recursive: true });
    expect((await Installation.open(home)).record.sites.metro.vaultPort).toBeGreaterThan(0);
    await writeFile(file, record.slice(1));
    await expect(Installation.open(home)).rejects.toThrow(/is damaged/);
  } finally {
    await rm(home, { recursive: true });
  }
});

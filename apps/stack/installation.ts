import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { chmod, lstat, mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { errorCode, errorText, ifPresent } from '#libs/platform/errors';
import { freePort, ownedDirectory, serverIdentity } from '#libs/platform/postgres';

export const SITE_KEYS = ['metro', 'regional'] as const;
export type SiteKey = (typeof SITE_KEYS)[number];

const sitePorts = z.strictObject({
  id: z.uuid(),
  orderPort: z.number().int(),
  gatewayPort: z.number().int(),
  /** 0 in an installation of before sites had a vault, until it is opened again. */
  vaultPort: z.number().int().default(0),
});

const record = z.strictObject({
  version: z.literal(1),
  createdAt: z.iso.datetime(),
  apiPort: z.number().int(),
  smtpPort: z.number().int(),
  postgresPort: z.number().int(),
  sites: z.strictObject({ metro: sitePorts, regional: sitePorts }),
  staffEmail: z.email(),
  secrets: z.strictObject({
    postgresAdmin: z.string(),
    owner: z.string(),
    tenant: z.string(),
    provider: z.string(),
    queue: z.string(),
    siteMetro: z.string(),
    siteRegional: z.string(),
    staffPassword: z.string(),
    /** The first administrator's authenticator app, as an otpauth:// address, once it is set up. */
    staffAuthenticator: z.string().optional(),
  }),
  /** Set once the sites have been registered and the first administrator made. */
  complete: z.boolean(),
});
export type InstallationRecord = z.infer<typeof record>;

/** An installation whose files cannot be understood; the message says what to do. */
export class InstallationError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'InstallationError';
  }
}

const secret = (): string => randomBytes(24).toString('base64url');

async function sitePart(): Promise<z.infer<typeof sitePorts>> {
  return { id: randomUUID(), orderPort: await freePort(), gatewayPort: await freePort(), vaultPort: await freePort() };
}

async function preferredPort(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', () => freePort().then(resolve, reject));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(port)));
  });
}

async function newRecord(apiPort: number): Promise<InstallationRecord> {
  return {
    version: 1,
    createdAt: new Date().toISOString(),
    apiPort: await preferredPort(apiPort),
    smtpPort: await freePort(),
    postgresPort: await freePort(),
    sites: { metro: await sitePart(), regional: await sitePart() },
    staffEmail: 'administrator@provider.example',
    secrets: {
      postgresAdmin: secret(),
      owner: secret(),
      tenant: secret(),
      provider: secret(),
      queue: secret(),
      siteMetro: secret(),
      siteRegional: secret(),
      staffPassword: secret(),
    },
    complete: false,
  };
}

function understood(text: string, file: string, home: string): InstallationRecord {
  try {
    return record.parse(JSON.parse(text));
  } catch (error) {
    throw new InstallationError(
      `${file} is damaged. Restore it from a copy, or move the folder ${home} away to begin anew.`,
      { cause: error },
    );
  }
}

/**
 * What makes one Mainstay on one machine: a folder with its ports, secrets, keys and data. Ports are chosen once, so
 * that addresses stay the same from start to start.
 */
export class Installation {
  private constructor(
    readonly home: string,
    private current: InstallationRecord,
    /** True when this start made it. */
    readonly isNew: boolean,
  ) {}

  /**
   * Reads the installation in `home`, or makes a new one.
   *
   * @param apiPort of a new one, where it is free
   * @throws InstallationError
   */
  static async open(home: string, apiPort = 7400): Promise<Installation> {
    const absolute = path.resolve(home);
    await mkdir(absolute, { recursive: true });
    // PostgreSQL's user must be able to pass through to its own folders; all secrets lie in `secrets`, mode 0700.
    await chmod(absolute, 0o711);
    await mkdir(path.join(absolute, 'secrets'), { recursive: true, mode: 0o700 });
    const file = path.join(absolute, 'secrets', 'installation.json');
    const text = await ifPresent(readFile(file, 'utf8')).catch((cause: unknown) => {
      throw new InstallationError(`${file} cannot be read: ${errorText(cause)}`, { cause });
    });
    if (text === undefined) {
      const installation = new Installation(absolute, await newRecord(apiPort), true);
      await installation.save();
      return installation;
    }
    const installation = new Installation(absolute, understood(text, file, absolute), false);
    await installation.ensureVaultPorts();
    return installation;
  }

  get record(): InstallationRecord {
    return this.current;
  }

  file(...parts: string[]): string {
    return path.join(this.home, ...parts);
  }

  secretFile(name: string): string {
    return this.file('secrets', name);
  }

  /**
   * Sockets lie in a short path: a Unix socket's has some 100 characters at most. Below a folder that is this user's
   * own: see {@link ensureSocketDirectory}.
   */
  get socketDirectory(): string {
    const name = createHash('sha256').update(this.home).digest('hex').slice(0, 10);
    return path.join(tmpdir(), `mainstay-${process.getuid?.() ?? 0}-${name}`);
  }

  /**
   * Makes the sockets' folder. In the folder for temporary files anybody can make one of this name first, and could
   * then swap the sockets in it.
   *
   * @throws InstallationError when it is somebody else's, or no folder.
   */
  async ensureSocketDirectory(): Promise<string> {
    const directory = this.socketDirectory;
    const identity = await serverIdentity();
    await mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error;
    });
    const found = await lstat(directory);
    const owners = [process.getuid?.() ?? identity.uid, identity.uid];
    if (!found.isDirectory() || !owners.includes(found.uid) || (found.mode & 0o022) !== 0) {
      throw new InstallationError(
        `${directory} is not this user’s own folder. Somebody else made it: look at it, remove it, and start again.`,
      );
    }
    return ownedDirectory(directory, identity);
  }

  get apiUrl(): string {
    return `http://127.0.0.1:${this.current.apiPort}`;
  }

  /** Keeps the first administrator's second factor beside the password. */
  async keepAuthenticator(uri: string): Promise<void> {
    this.current = { ...this.current, secrets: { ...this.current.secrets, staffAuthenticator: uri } };
    await this.save();
  }

  private async ensureVaultPorts(): Promise<void> {
    const { metro, regional } = this.current.sites;
    if (metro.vaultPort !== 0 && regional.vaultPort !== 0) return;
    const sites = {
      metro: { ...metro, vaultPort: await freePort() },
      regional: { ...regional, vaultPort: await freePort() },
    };
    this.current = { ...this.current, sites };
    await this.save();
  }

  async markComplete(): Promise<void> {
    this.current = { ...this.current, complete: true };
    await this.save();
  }

  /** Writes a secret beside the others, whole or not at all. */
  async writeSecret(name: string, text: string): Promise<string> {
    const file = this.secretFile(name);
    const half = `${file}.half`;
    await writeFile(half, text, { mode: 0o600 });
    const handle = await open(half, 'r');
    await handle.sync();
    await handle.close();
    await rename(half, file);
    return file;
  }

  private async save(): Promise<void> {
    await this.writeSecret('installation.json', `${JSON.stringify(this.current, null, 2)}\n`);
  }
}

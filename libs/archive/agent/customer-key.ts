import { randomBytes, randomUUID } from 'node:crypto';
import { link } from 'node:fs/promises';
import { z } from 'zod';
import { keyId, type RepositoryAccess } from '#contracts/archive';
import { Turns } from '#libs/platform/clock';
import { errorCode } from '#libs/platform/errors';
import { DurableValue, type StateDirectory } from '#libs/sites/agent';
import { ArchiveWorkError } from './errors.js';

const heldPassword = z.strictObject({
  password: z.string().min(1).max(200),
  since: z.iso.datetime(),
  /** restic's name of the key in the repository that it opens, once that is known. */
  key: keyId.optional(),
  /** By which rotation it came. */
  rotation: z.uuid().optional(),
});
export type HeldPassword = z.infer<typeof heldPassword>;

/** A work and a listing may each have something to write beside a password: none may put one back that was replaced. */
const changes = new Turns();

/** With what restic opens a repository. */
export interface Entry {
  readonly password: string;
  readonly hint: string | undefined;
  /** The key is the agency's own, and this its name. */
  readonly knows?: string | undefined;
}

/**
 * The password that only the agency holds, one for each workload that is archived so: a file of mode 0600 among the
 * agent's state. Who loses it and has no copy has lost the archive.
 */
export class CustomerKey {
  private readonly value: DurableValue<HeldPassword>;

  constructor(directory: StateDirectory, workload: string) {
    this.value = new DurableValue(directory.workload(workload, 'archive-password.json'), heldPassword);
  }

  get file(): string {
    return this.value.file;
  }

  read(): Promise<HeldPassword | undefined> {
    return this.value.read();
  }

  /**
   * By which password a work enters, the site's or the agency's own, and by which key first; undefined while there is none.
   *
   * @param brought what the site gave: no password with an archive that only the agency can open
   * @throws ArchiveWorkError when both have one: a site that is in other hands must not get to read, or to have its own
   * files restored, by asking for it
   */
  async choose({ password, keyHint }: RepositoryAccess): Promise<Entry | undefined> {
    const held = await this.read();
    if (password === null) return held && { password: held.password, hint: held.key ?? keyHint, knows: held.key };
    if (!held) return { password, hint: keyHint };
    throw new ArchiveWorkError(
      'key-mode',
      `The archive of this workload is one that only the agency can open, and the site asks for one that Mainstay can open too. If you have chosen that yourself, keep a copy of ${this.file}, remove it, and run again.`,
    );
  }

  /** A new one, on the disk when it returns; or the one that somebody has put in meanwhile. */
  async make(): Promise<string> {
    return (await this.keep(newPassword())).password;
  }

  /** In the place of the one before, on the disk when it returns. The repository must have its key by then. */
  async replace(password: string, key: string, rotation: string): Promise<void> {
    await changes.take(() => this.value.write({ password, since: new Date().toISOString(), key, rotation }));
  }

  /** Beside the password, unless that has become another one. */
  async learn(password: string, key: string): Promise<void> {
    await changes.take(async () => {
      const held = await this.read();
      if (held?.password === password) await this.value.write({ ...held, key });
    });
  }

  /**
   * One that the agency has kept from an earlier machine, where none is held. What is held stays as it is, with all that is
   * known of it: the agent, which is another process, may be about to replace it.
   *
   * @returns what is held now, on the disk
   */
  async keep(password: string): Promise<HeldPassword> {
    const held = await this.read();
    if (held) return held;
    const given = { password, since: new Date().toISOString() };
    const fresh = new DurableValue(`${this.file}.${randomUUID()}`, heldPassword);
    await fresh.write(given);
    try {
      // A rename would replace what came meanwhile.
      await link(fresh.file, this.file);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    } finally {
      await fresh.clear();
    }
    return (await this.read()) ?? given;
  }
}

/** 256 bits of chance, without characters that a person could mistake or a shell change. */
export const newPassword = (): string => randomBytes(32).toString('base64url');

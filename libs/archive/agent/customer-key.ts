import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { DurableValue, type StateDirectory } from '#libs/sites/agent';

const heldPassword = z.strictObject({ password: z.string().min(1).max(200), since: z.iso.datetime() });
export type HeldPassword = z.infer<typeof heldPassword>;

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

  /** 256 bits of chance, without characters that a person could mistake or a shell change. On the disk when it returns. */
  async make(): Promise<string> {
    const password = randomBytes(32).toString('base64url');
    await this.keep(password);
    return password;
  }

  /** One that the agency has kept from an earlier machine. */
  async keep(password: string): Promise<void> {
    await this.value.write({ password, since: new Date().toISOString() });
  }
}

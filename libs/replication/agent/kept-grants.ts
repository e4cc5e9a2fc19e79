import { z } from 'zod';
import { errorText } from '#libs/platform/errors';
import type { DurableValue } from '#libs/sites/agent';

const ids = z.array(z.uuid());
/** Which grants an agent has heard of, from the control plane or passed on as kept by it. Oldest first. */
export const grantsRecord = z.strictObject({ heard: ids, overtaken: ids });
export type GrantsRecord = z.infer<typeof grantsRecord>;

/** A grant is over long before so many newer ones. */
const MOST = 200;

/**
 * Persons' grants that the control plane keeps, as far as the agent has heard of them. Those from before the leader was
 * last told that it is armed are overtaken: they count by its own word only, also for the process that comes after this.
 */
export class KeptGrants {
  private record: GrantsRecord = { heard: [], overtaken: [] };
  private written = this.record;
  private fault: string | null = null;

  constructor(private readonly file: DurableValue<GrantsRecord>) {}

  async begin(): Promise<void> {
    const read = await this.file.read();
    if (read) this.written = this.record = read;
  }

  hear(requestId: string): void {
    const { heard, overtaken } = this.record;
    if (heard.includes(requestId) || overtaken.includes(requestId)) return;
    this.record = { heard: [...heard, requestId].slice(-MOST), overtaken };
  }

  overtake(): void {
    const { heard, overtaken } = this.record;
    if (heard.length > 0) this.record = { heard: [], overtaken: [...overtaken, ...heard].slice(-MOST) };
  }

  isOvertaken(requestId: string): boolean {
    return this.record.overtaken.includes(requestId);
  }

  /** Why the last {@link save} did not succeed; null when it did. */
  get unsaved(): string | null {
    return this.fault;
  }

  /** Writes what is not on the disk yet. Never rejects: a full disk costs no pulse its answer, and is tried again. */
  async save(): Promise<void> {
    const { record } = this;
    if (record === this.written) return;
    try {
      await this.file.write(record);
      this.written = record;
      this.fault = null;
    } catch (error) {
      this.fault = errorText(error);
    }
  }
}

import { createHash } from 'node:crypto';
import { z } from 'zod';

/** Who did something. `name` is what a person reads years later, when the member or key is long gone. */
export interface Actor {
  readonly kind: 'member' | 'api-key' | 'staff' | 'agent' | 'site' | 'system';
  readonly id: string | null;
  readonly name: string;
}

/** One thing done, to be recorded. `detail` holds what changed, never a secret. */
export interface AuditRecord {
  /** The agency whose log it belongs in; null for the provider's own log (a site registered, staff made). */
  readonly tenantId: string | null;
  readonly actor: Actor;
  /** Domain and verb in the past: `api-key.made`, `workload.protected`, `failover.declared`. */
  readonly action: string;
  readonly subjectKind: string;
  readonly subjectId: string | null;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** An entry of the log as it is shown, exported and hashed. */
export const auditEntry = z
  .object({
    number: z.int().meta({ description: 'Counts from 1 in each agency, without gaps.' }),
    at: z.iso.datetime(),
    actorKind: z.string(),
    actorId: z.string().nullable(),
    actorName: z.string(),
    action: z.string(),
    subjectKind: z.string(),
    subjectId: z.string().nullable(),
    detail: z.record(z.string(), z.unknown()),
    requestId: z.string().nullable(),
    previousHash: z.string().meta({ description: 'hash of the entry before; 64 zeros in the first.' }),
    hash: z.string().meta({
      description: 'SHA-256, hexadecimal, over the JSON of all other fields with sorted keys and no white space.',
    }),
  })
  .meta({ id: 'AuditEntry' });
export type AuditEntry = z.infer<typeof auditEntry>;

/** Stands for the provider where a log's owner is named: no agency has it. */
export const PROVIDER_LOG = '00000000-0000-0000-0000-000000000000';

export const FIRST_PREVIOUS_HASH = '0'.repeat(64);

const sorted = (_name: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

/** The hash of an entry over everything else in it, the previous hash included: so a change breaks all that follow. */
export function hashOf(entry: Omit<AuditEntry, 'hash'>): string {
  return createHash('sha256').update(JSON.stringify(entry, sorted)).digest('hex');
}

/**
 * Checks entries that follow each other, as an export holds them.
 *
 * @returns the number of the first entry that does not fit, or null when all do.
 */
export function firstBrokenEntry(entries: Iterable<AuditEntry>): number | null {
  let previous: AuditEntry | undefined;
  for (const entry of entries) {
    const { hash, ...rest } = entry;
    const follows =
      previous === undefined || (entry.previousHash === previous.hash && entry.number === previous.number + 1);
    const begins = entry.number !== 1 || entry.previousHash === FIRST_PREVIOUS_HASH;
    if (!follows || !begins || hashOf(rest) !== hash) return entry.number;
    previous = entry;
  }
  return null;
}

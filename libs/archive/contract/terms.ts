import { z } from 'zod';
import { text, uuid } from '#contracts/sites';

/**
 * Who can read an archive. `escrowed`: the provider holds a sealed password, and proves every recovery point by a restore.
 * `customer-held`: nobody but the agency can; checking and pruning run at its agent.
 */
export const keyMode = z.enum(['escrowed', 'customer-held']);
export type KeyMode = z.infer<typeof keyMode>;

/** What is archived: folders, the databases of a PostgreSQL server as dumps, or what a program of the agency's writes. */
export const sourceKind = z.enum(['files', 'postgresql', 'command']);
export type SourceKind = z.infer<typeof sourceKind>;

/** The SHA-256 by which restic knows a snapshot, in full. */
export const snapshotId = z.string().regex(/^[0-9a-f]{64}$/);
/** restic's name of a key, in full or its first digits. */
export const keyId = z.string().regex(/^[0-9a-f]{8,64}$/);
/** A whole number of bytes. */
export const bytes = z.number().int().nonnegative();
/** An absolute path inside a snapshot, as restic writes it. */
export const treePath = z
  .string()
  .max(4_096)
  .regex(/^\//, 'must be an absolute path')
  .refine((path) => !path.split('/').includes('..') && !path.includes('\0'), 'must not climb');

export const archiveRef = { archiveId: uuid, workloadId: uuid };

/** Something that could not be read or written, by path. */
export const fault = z.strictObject({ path: text(1_000), what: text(500) });
/** Of the faults of one run so many are told by path; all are counted. */
export const FAULTS_TOLD = 200;

/** Why something ended without success, in words for the person who must act. */
export const failure = z.strictObject({ code: text(100), message: text(2_000) });
export type Failure = z.infer<typeof failure>;

import { z } from 'zod';
import { atMost, defineByteQuestion, defineQuestion, text } from '#contracts/sites';
import { archiveRef, bytes, snapshotId, treePath } from './terms.js';

// Control plane → site, answered at once: looks that change nothing.

export const treeEntry = z.strictObject({
  name: text(1_000),
  type: z.enum(['file', 'dir', 'symlink', 'other']),
  bytes: bytes.nullable(),
  modifiedAt: z.iso.datetime().nullable(),
});
export type TreeEntry = z.infer<typeof treeEntry>;

/** One folder of a recovery point, in the order of names; `after` is the last name of the page before. */
export const treeQuestion = z.strictObject({
  ...archiveRef,
  snapshotId,
  path: treePath,
  after: z.string().max(1_000).nullable(),
  limit: z.number().int().min(1).max(1_000),
});
export const treeAnswer = z.strictObject({ entries: atMost(treeEntry, 1_001), more: z.boolean() });
/** Answered with the bytes of one file. */
export const fileQuestion = z.strictObject({ ...archiveRef, snapshotId, path: treePath });

export const askTree = defineQuestion('archive.tree', treeQuestion, treeAnswer);
export const askFile = defineByteQuestion('archive.file', fileQuestion);

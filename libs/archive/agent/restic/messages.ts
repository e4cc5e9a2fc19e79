import { z } from 'zod';

// What restic says with --json, one message on a line (its doc/075_scripting.rst). Fields that came with a later version
// than 0.14 may be missing.

const count = z.number().nonnegative().default(0);

/** While a backup or a restore goes on. */
export const statusMessage = z.object({
  message_type: z.literal('status'),
  seconds_remaining: z.number().nonnegative().optional(),
  total_files: z.number().nonnegative().optional(),
  total_bytes: z.number().nonnegative().optional(),
  /** Of a backup. */
  files_done: count,
  bytes_done: count,
  /** Of a restore. */
  files_restored: count,
  bytes_restored: count,
});
export type StatusMessage = z.infer<typeof statusMessage>;

export const backupSummary = z.object({
  message_type: z.literal('summary'),
  files_new: count,
  files_changed: count,
  files_unmodified: count,
  data_added: count,
  data_added_packed: z.number().nonnegative().optional(),
  total_files_processed: count,
  total_bytes_processed: count,
  total_duration: count,
  /** In full since 0.17; its first eight digits before. Absent when nothing was saved. */
  snapshot_id: z.string().optional(),
});
export type BackupSummary = z.infer<typeof backupSummary>;

export const restoreSummary = z.object({
  message_type: z.literal('summary'),
  files_restored: count,
  files_skipped: count,
  bytes_restored: count,
});

export const errorMessage = z.object({
  message_type: z.literal('error'),
  // Before 0.17 an error was written as the fields of Go's structure.
  error: z.looseObject({ message: z.string().optional(), Op: z.string().optional() }).nullish(),
  during: z.string().optional(),
  item: z.string().default(''),
});

/** Of a check, since 0.18; words before. */
export const checkError = z.object({ message_type: z.literal('error'), message: z.string() });
export const checkSummary = z.object({
  message_type: z.literal('summary'),
  broken_packs: z.array(z.string().regex(/^[0-9a-f]{64}$/)).nullish(),
});

export const exitMessage = z.object({ message_type: z.literal('exit_error'), message: z.string() });

/** One with `-vv`: what became of one item of a restore. */
export const verboseStatus = z.object({
  message_type: z.literal('verbose_status'),
  action: z.string(),
  item: z.string(),
  size: count,
});

export const diffChange = z.object({
  message_type: z.literal('change'),
  path: z.string(),
  modifier: z.string(),
});
export const diffStatistics = z.object({
  message_type: z.literal('statistics'),
  removed: z.object({ files: count }),
});

export const listedNode = z.object({
  struct_type: z.literal('node'),
  name: z.string(),
  type: z.string(),
  path: z.string(),
  size: z.number().nonnegative().optional(),
  mtime: z.string().optional(),
});
export type ListedNode = z.infer<typeof listedNode>;

export const listedSnapshot = z.object({ id: z.string().regex(/^[0-9a-f]{64}$/), paths: z.array(z.string()) });

/** What an error message says, in words. */
export function errorWords({ error, during }: z.infer<typeof errorMessage>): string {
  return (
    error?.message ?? (error?.Op === undefined ? `it failed (${during ?? 'no reason given'})` : `${error.Op} failed`)
  );
}

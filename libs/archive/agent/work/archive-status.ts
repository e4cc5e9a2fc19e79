import { failure, progress, workResult } from '#contracts/archive';
import { z } from 'zod';

const kind = z.enum(['backup', 'restore', 'forget', 'check', 'rotate']);
export const endedWork = z.object({
  workload: z.string(),
  kind,
  state: workResult.shape.state,
  endedAt: z.iso.datetime(),
  faultCount: z.number(),
  failure: failure.nullable(),
});
export type EndedWork = z.infer<typeof endedWork>;

/** What the agent says of its works to the person at its machine. */
export const archiveStatus = z.object({
  running: z.array(z.object({ workload: z.string(), kind, progress: progress.nullable() })),
  last: z.array(endedWork),
});
export type ArchiveStatus = z.infer<typeof archiveStatus>;

import { chmod, open, readFile, rename } from 'node:fs/promises';
import { z } from 'zod';
import { chownTo, serverIdentity, type HbaRule } from '#libs/platform/postgres';

const hbaRule: z.ZodType<HbaRule> = z.object({
  type: z.enum(['local', 'host', 'hostssl', 'hostnossl']),
  database: z.string(),
  user: z.string(),
  address: z.string().optional(),
  method: z.enum(['trust', 'peer', 'scram-sha-256', 'md5', 'cert', 'reject']),
  options: z.string().optional(),
});

const followed = z.object({
  host: z.string(),
  port: z.number().int(),
  user: z.string(),
  slotName: z.string(),
  applicationName: z.string(),
  sslmode: z.enum(['disable', 'prefer', 'require', 'verify-full']),
});
export type FollowedSource = z.infer<typeof followed>;

const standbyState = z.object({
  majorVersion: z.number().int(),
  parameters: z.record(z.string(), z.string()),
  /** Of the parameters, those that this machine's PostgreSQL would not start with. */
  refused: z.array(z.string()),
  /** The primary's limits, as pg_control had them when the configuration was last made whole. */
  limits: z.record(z.string(), z.number()),
  hba: z.array(hbaRule),
  port: z.number().int(),
  memoryBytes: z.number(),
  tls: z.boolean(),
  /** Set by seeding, which is whole once `seeded` is true. */
  superuser: z.string().nullable(),
  systemIdentifier: z.string().nullable(),
  seeded: z.boolean(),
  /** Null while it follows nobody. The password is in the passfile only. */
  follow: followed.nullable(),
  /** Paths of the host that lead to this standby's tablespaces. */
  tablespaceLinks: z.array(z.string()),
});
/** What the driver remembers of one standby; the truth of its configuration, from which all files are rendered. */
export type StandbyState = z.infer<typeof standbyState>;

export async function loadState(file: string): Promise<StandbyState | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return text === undefined ? undefined : standbyState.parse(JSON.parse(text));
}

export async function saveState(file: string, state: StandbyState): Promise<void> {
  await replaceFile(file, JSON.stringify(state, null, 2));
}

/**
 * Writes what is rendered from the state, whole or not at all, readable for PostgreSQL's user; nothing when it is the
 * same already. Not synced: after a power cut it is rendered anew before a server starts.
 */
export async function renderFile(file: string, text: string, mode = 0o600): Promise<void> {
  if ((await readFile(file, 'utf8').catch(() => undefined)) !== text)
    await replaceFile(file, text, { mode, sync: false });
}

/** Writes a file whole or not at all: mode 0600 (or `mode`), readable for PostgreSQL's user. */
export async function replaceFile(
  file: string,
  text: string,
  options: { mode?: number; sync?: boolean } = {},
): Promise<void> {
  const { mode = 0o600, sync = true } = options;
  const fresh = `${file}.new`;
  const handle = await open(fresh, 'w', mode);
  try {
    await handle.writeFile(text);
    if (sync) await handle.sync();
  } finally {
    await handle.close();
  }
  await chmod(fresh, mode);
  await chownTo(fresh, await serverIdentity());
  await rename(fresh, file);
}

import path from 'node:path';
import { z } from 'zod';
import { ifPresent } from '#libs/platform/errors';
import { readPlain, withDirectory, type FileOwner, type HbaRule } from '#libs/platform/postgres';

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
  /** Whether clients may use TLS: then the certificate's file is there. */
  tls: z.boolean(),
  /** Set by seeding, which is whole once `seeded` is true. */
  superuser: z.string().nullable(),
  systemIdentifier: z.string().nullable(),
  seeded: z.boolean(),
  /** Null while it follows nobody. The password is in the passfile only. */
  follow: followed.nullable(),
  /** As whom it followed last: the site's other way in, should the superuser have been given another name. */
  followedAs: z.string().optional(),
  /** Paths of the host that lead to this standby's tablespaces. */
  tablespaceLinks: z.array(z.string()),
});
/** What the driver remembers of one standby; the truth of its configuration, from which all files are rendered. */
export type StandbyState = z.infer<typeof standbyState>;

/** Of a standby that has no data yet. */
export const UNSEEDED = {
  superuser: null,
  systemIdentifier: null,
  seeded: false,
  follow: null,
  tablespaceLinks: [],
  refused: [],
  limits: {},
  tls: false,
} satisfies Partial<StandbyState>;

/** What no server of a standby need read. */
const OURS: FileOwner = { uid: 0, gid: 0, switched: false };

export async function loadState(file: string): Promise<StandbyState | undefined> {
  const text = await ifPresent(readPlain(file));
  return text === undefined ? undefined : standbyState.parse(JSON.parse(text.toString('utf8')));
}

export async function saveState(file: string, state: StandbyState): Promise<void> {
  await replaceFile(file, JSON.stringify(state, null, 2), OURS);
}

/**
 * Writes what is rendered from the state, whole or not at all, readable for the standby's user; nothing when it is the
 * same already. Not synced: after a power cut it is rendered anew before a server starts.
 */
export async function renderFile(file: string, text: string, owner: FileOwner, mode = 0o600): Promise<void> {
  // Whatever cannot be read, a link that the user put there included, is replaced; what keeps it from that is thrown.
  const present = await readPlain(file).catch(() => undefined);
  if (present?.toString('utf8') !== text) await replaceFile(file, text, owner, { mode, sync: false });
}

/**
 * Writes a file whole or not at all: mode 0600 (or `mode`), owned by `owner`, who may put links into the folder meanwhile
 * but not into those above it.
 */
export async function replaceFile(
  file: string,
  text: string,
  owner: FileOwner,
  options: { mode?: number; sync?: boolean } = {},
): Promise<void> {
  await withDirectory(path.dirname(file), [], (folder) => folder.replace(path.basename(file), text, owner, options));
}

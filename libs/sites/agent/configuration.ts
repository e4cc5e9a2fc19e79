import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { AgentConfigurationError } from './errors.js';
import type { StateDirectory } from './state-directory.js';

const absolute = z.string().refine((value) => path.isAbsolute(value), { message: 'must be an absolute path' });
/** As it will be compared with what a site names: without `..`, doubled slashes, or a slash at its end. */
const clean = absolute
  .refine((value) => !value.includes('\0') && !value.split('/').includes('..'), 'must not climb')
  .transform((value) => path.normalize(value).replace(/(?<=.)\/$/, ''));
/** A program and its arguments; no shell stands in between. */
const command = z.array(z.string().min(1)).min(1);

/** How Mainstay calls a workload; unique on this machine, whatever its kind. */
const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,40}$/, 'must be lower-case letters, digits and hyphens');

/**
 * A PostgreSQL server of the agency. The agent signs in as `user`, a superuser; sites reach it by TCP at host and port,
 * with roles that the agent makes for them.
 */
export const postgresWorkload = z.strictObject({
  name,
  kind: z.literal('postgresql').default('postgresql'),
  host: z.string().min(1).default('127.0.0.1'),
  port: z.number().int().min(1).max(65_535).default(5432),
  /** When given, the agent's own connection uses this Unix socket (`/var/run/postgresql`) instead of host and port. */
  socketDirectory: absolute.optional(),
  user: z.string().min(1).max(63).default('postgres'),
  /** A file that holds the user's password, readable by the agent alone. Not needed where peer maps its user to `user`. */
  passwordFile: absolute.optional(),
  /** The server's data directory on this machine (`SHOW data_directory`). */
  dataDirectory: absolute,
  /** Where pg_receivewal and the others lie; found by the server's version when left out. */
  binDirectory: absolute.optional(),
  /** How this machine starts and stops the server, for example `["systemctl", "stop", "postgresql@15-main"]`. */
  service: z.strictObject({ start: command.optional(), stop: command.optional() }).optional(),
  /** What its archive holds: dumps of these databases; of all that are not templates when left out. */
  archive: z.strictObject({ databases: z.array(z.string().min(1).max(63)).min(1).max(1_000).optional() }).optional(),
});
export type PostgresWorkload = z.infer<typeof postgresWorkload>;

/** Folders and files to archive. */
export const filesWorkload = z.strictObject({
  name,
  kind: z.literal('files'),
  paths: z.array(clean).min(1).max(1_000),
  /** Patterns as restic's `--exclude` takes them, beside those of the archive's policy. */
  excludes: z.array(z.string().min(1).max(1_000)).max(500).default([]),
  /** Keeps out what is mounted below the paths. */
  oneFileSystem: z.boolean().default(false),
});
export type FilesWorkload = z.infer<typeof filesWorkload>;

/** The standard output of a program, to archive: how databases that Mainstay does not know are dumped. */
export const commandWorkload = z.strictObject({
  name,
  kind: z.literal('command'),
  command: z
    .array(z.string().min(1))
    .min(1)
    .refine(([program = '']) => path.isAbsolute(program), 'must begin with the absolute path of a program'),
  /** What the output is called in the archive, such as `payroll.dmp`. */
  fileName: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'must be a plain file name such as payroll.dmp'),
  /** Run as this user of the system; as the agent's own when left out. */
  user: z
    .string()
    .regex(/^[a-z_][a-z0-9_.-]{0,31}$/i, 'must be the name of a user of this machine')
    .optional(),
});
export type CommandWorkload = z.infer<typeof commandWorkload>;

const KINDS = [postgresWorkload, filesWorkload, commandWorkload] as const;
export const agentWorkload = z.preprocess(
  // A server of PostgreSQL needs no kind: it was the only one.
  (said) => (isObject(said) && said['kind'] === undefined ? { ...said, kind: 'postgresql' } : said),
  z.discriminatedUnion('kind', [...KINDS], { error: wrongKind }),
);
export type AgentWorkload = z.infer<typeof agentWorkload>;

export const agentConfiguration = z
  .strictObject({
    /** All that Mainstay may ever reach on this machine, and nothing else. */
    workloads: z.array(agentWorkload),
    /** The program, where it is neither on PATH nor in a usual place. */
    restic: absolute.optional(),
    /**
     * Folders into which a restore may put files, beside the paths of the workload itself and `restored` in the agent's
     * own directory. What it brings is as the archive has it, so nothing that the system trusts belongs below them.
     */
    restoreTo: z.array(clean).max(100).default([]),
  })
  .superRefine(({ workloads }, context) => {
    const seen = new Map<string, string>();
    for (const [index, { name: taken, kind }] of workloads.entries()) {
      const by = seen.get(taken);
      if (by !== undefined) {
        const message = by === kind ? 'is taken' : `is taken by a workload of the kind ${by}`;
        context.addIssue({ code: 'custom', path: ['workloads', index, 'name'], message });
      }
      seen.set(taken, kind);
    }
  });
export type AgentConfiguration = z.infer<typeof agentConfiguration>;

/** Those of its workloads that are PostgreSQL servers: the only ones that can be replicated. */
export function postgresWorkloads({ workloads }: Pick<AgentConfiguration, 'workloads'>): PostgresWorkload[] {
  return workloads.filter((each) => each.kind === 'postgresql');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrongKind(): string {
  return 'must be "postgresql", "files" or "command"';
}

/**
 * Reads agent.json.
 *
 * @throws AgentConfigurationError with one line per fault.
 */
export async function readConfiguration(directory: StateDirectory): Promise<AgentConfiguration> {
  let text: string;
  try {
    text = await readFile(directory.configuration, 'utf8');
  } catch (cause) {
    throw new AgentConfigurationError(
      `${directory.configuration} cannot be read. Write it, for example:\n${EXAMPLE_CONFIGURATION}`,
      { cause },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AgentConfigurationError(`${directory.configuration} is not JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = agentConfiguration.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `  ${issue.path.join('.') || '(file)'}: ${issue.message}`);
  throw new AgentConfigurationError(`${directory.configuration} has faults:\n${faults.join('\n')}`);
}

export const EXAMPLE_CONFIGURATION = `${JSON.stringify(
  {
    workloads: [
      {
        name: 'permits',
        port: 5432,
        user: 'mainstay_agent',
        passwordFile: '/var/lib/mainstay-agent/permits.password',
        dataDirectory: '/var/lib/postgresql/15/main',
        service: {
          start: ['systemctl', 'start', 'postgresql@15-main'],
          stop: ['systemctl', 'stop', 'postgresql@15-main'],
        },
      },
      { name: 'share', kind: 'files', paths: ['/srv/share'], excludes: ['*.tmp'] },
    ],
  },
  null,
  2,
)}\n`;

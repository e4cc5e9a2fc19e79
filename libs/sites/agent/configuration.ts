import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { AgentConfigurationError } from './errors.js';
import type { StateDirectory } from './state-directory.js';

const absolute = z.string().refine((value) => path.isAbsolute(value), { message: 'must be an absolute path' });
/** A program and its arguments; no shell stands in between. */
const command = z.array(z.string().min(1)).min(1);

/**
 * A PostgreSQL server of the agency. The agent signs in as `user`, a superuser; sites reach it by TCP at host and port,
 * with roles that the agent makes for them.
 */
export const postgresWorkload = z.strictObject({
  /** How Mainstay calls it; unique on this machine. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,40}$/, 'must be lower-case letters, digits and hyphens'),
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
});
export type PostgresWorkload = z.infer<typeof postgresWorkload>;

export const agentConfiguration = z
  .strictObject({
    /** All that Mainstay may ever reach on this machine, and nothing else. */
    workloads: z.array(postgresWorkload),
  })
  .superRefine(({ workloads }, context) => {
    const seen = new Set<string>();
    for (const [index, { name }] of workloads.entries()) {
      if (seen.has(name)) context.addIssue({ code: 'custom', path: ['workloads', index, 'name'], message: 'is taken' });
      seen.add(name);
    }
  });
export type AgentConfiguration = z.infer<typeof agentConfiguration>;

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
    ],
  },
  null,
  2,
)}\n`;

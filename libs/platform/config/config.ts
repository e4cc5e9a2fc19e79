import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { errorText } from '../errors/index.js';

/** A bad setting stops the start with one line per fault. */
export class ConfigurationError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(`Mainstay cannot start with these settings:\n${faults.map((fault) => `  ${fault}`).join('\n')}`);
    this.name = 'ConfigurationError';
  }
}

/**
 * Parses the environment once, typed. Settings whose name ends in `_FILE` are paths; use {@link secretFile} for those
 * that hold secrets, so that no secret stands in the environment or in a process list.
 *
 * @throws ConfigurationError naming each faulty setting, never its value.
 */
export function loadConfig<S extends z.ZodType>(schema: S, environment: NodeJS.ProcessEnv = process.env): z.infer<S> {
  const result = schema.safeParse(environment);
  if (result.success) return result.data;
  throw new ConfigurationError(
    result.error.issues.map((issue) => `${issue.path.join('.') || '(settings)'}: ${issue.message}`),
  );
}

/** A schema for a setting that names a file; its value becomes the file's text, trimmed. */
export const secretFile = () =>
  z.string().transform((path, context) => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch (error) {
      context.addIssue({ code: 'custom', message: `the file ${path} cannot be read: ${errorText(error)}` });
      return z.NEVER;
    }
  });

export const port = () => z.coerce.number().int().min(1).max(65_535);
export const databaseUrl = () => z.string().regex(/^postgres(ql)?:\/\//, 'must be a postgres:// address');

/** The environment for a child process: only what is named, so that no secret of ours is inherited by accident. */
export function childEnvironment(extra: Readonly<Record<string, string>>): Record<string, string> {
  const kept = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'NODE_COMPILE_CACHE', 'NODE_EXTRA_CA_CERTS'];
  const inherited = kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  return { ...Object.fromEntries(inherited), ...extra };
}

/** The folders of PATH, for finding installed tools. */
export function searchPath(environment: NodeJS.ProcessEnv = process.env): string[] {
  return (environment['PATH'] ?? '').split(':').filter(Boolean);
}

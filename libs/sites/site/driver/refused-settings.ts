import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { keptDirectory, PostgresToolError, runTool, withDirectory, type PostgresServer } from '#libs/platform/postgres';
import { isCarried } from './standby-configuration.js';
import type { StandbyState } from './standby-state.js';

const ATTEMPTS_MAX = 40;

/**
 * Which of the carried settings this machine's PostgreSQL would not start with (a time zone or locale that is not
 * installed here, a setting of another minor version): asks the program itself, which names them.
 *
 * @returns their names; they stay at PostgreSQL's default, and the caller shows them.
 * @throws PostgresToolError when a setting of our own is refused.
 */
export async function refusedSettings(
  server: PostgresServer,
  state: StandbyState,
  render: (state: StandbyState) => string,
): Promise<string[]> {
  const folder = await keptDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-settings-')), server.identity);
  const file = path.join(folder, 'postgresql.conf');
  const program = path.join(server.installation.binDirectory, 'postgres');
  const args = ['-C', 'port', '-D', server.directory, '-c', `config_file=${file}`];
  const refused = new Set(state.refused.filter((name) => name in state.parameters));
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const text = render({ ...state, refused: [...refused] });
      await withDirectory(folder, [], (each) =>
        each.replace('postgresql.conf', text, server.identity, { sync: false }),
      );
      const fault = await runTool(program, args, { identity: server.identity, timeoutMs: 20_000 }).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (fault === undefined) return [...refused].sort();
      const names = namedSettings(fault).filter((name) => isCarried(name) && !refused.has(name));
      if (names.length === 0) throw fault;
      for (const name of namesInState(state, names)) refused.add(name);
    }
    throw new Error('the settings of the standby are refused again and again');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** `invalid value for parameter "TimeZone"`, `unrecognized configuration parameter "x"`, `250 is outside … "work_mem"`. */
function namedSettings(error: unknown): string[] {
  const text = error instanceof PostgresToolError ? (error.detail ?? '') : '';
  return [...text.matchAll(/parameter "([^"]+)"/g)].map((match) => match[1] ?? '');
}

function namesInState(state: StandbyState, names: readonly string[]): string[] {
  const lower = new Set(names.map((name) => name.toLowerCase()));
  return Object.keys(state.parameters).filter((name) => lower.has(name.toLowerCase()));
}

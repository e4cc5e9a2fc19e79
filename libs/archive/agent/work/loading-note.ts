import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { AgentWorkload } from '#libs/sites/agent';
import { GLOBALS } from '../sources/postgres-dumps.js';

/** How the dumps that a restore brings to a folder are loaded: a person does that, who knows what is in the way. */
export async function loadingNote(workload: AgentWorkload, staging: string, folder: string): Promise<string> {
  const files = (await readdir(staging)).sort();
  const lines = files.map((name) => {
    const file = `'${path.join(folder, name).replaceAll("'", String.raw`'\''`)}'`;
    if (workload.kind !== 'postgresql') return `${file}: load it with the tool that made it.`;
    return name === GLOBALS.fileName
      ? `psql --dbname=postgres --file=${file} (roles first; those that are there already are reported and stay)`
      : `pg_restore --dbname=postgres --create ${file} (add --clean --if-exists to replace a database that is there)`;
  });
  return lines.join('\n');
}

/**
 * What of a data directory a standby needs. A closed list, both for what a source gives away (no server keys, no
 * configuration, no logs of the agency) and for what a receiver takes (a source must not plant configuration).
 * What is left out otherwise is what pg_basebackup leaves out (src/backend/backup/basebackup.c, excludeDirContents).
 */
const COPIED = new Set([
  'base',
  'global',
  'pg_commit_ts',
  'pg_logical',
  'pg_multixact',
  'pg_tblspc',
  'pg_twophase',
  'pg_xact',
]);
/** Needed, but empty: rebuilt by the server, or of the source's own concern. */
const EMPTY = [
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat',
  'pg_stat_tmp',
  'pg_subtrans',
  'pg_wal',
  'pg_wal/archive_status',
];

export const VERSION_FILE = 'PG_VERSION';
/** Travels with the answer to finish, last of all. */
export const CONTROL_FILE = 'global/pg_control';
export const EMPTY_DIRECTORIES: readonly string[] = EMPTY;

const TEMPORARY_RELATION = /^t\d+_\d+(_(fsm|vm|init))?(\.\d+)?$/;
const RELATION = /^(\d+)(_(?:fsm|vm|init))?(?:\.\d+)?$/;

/** Whether a path may be part of a backup at all. */
export function belongsToBackup(path: string): boolean {
  if (path === VERSION_FILE) return true;
  const [top = '', ...rest] = path.split('/');
  if (!COPIED.has(top) || path === CONTROL_FILE) return false;
  const name = rest.at(-1) ?? '';
  return !name.startsWith('pgsql_tmp') && !name.startsWith('pg_internal.init') && !TEMPORARY_RELATION.test(name);
}

export function isCopiedDirectory(top: string): boolean {
  return COPIED.has(top);
}

/**
 * Of the files of one directory, those that a backup leaves out because they are unlogged: every fork of a relation that
 * has an init fork, but the init fork itself, from which a standby makes the empty relation.
 */
export function unloggedFiles(names: readonly string[]): Set<string> {
  const unlogged = new Set(names.filter((name) => /^\d+_init(\.\d+)?$/.test(name)).map((name) => name.split('_')[0]));
  return new Set(
    names.filter((name) => {
      const match = RELATION.exec(name);
      return match !== null && unlogged.has(match[1]) && match[2] !== '_init';
    }),
  );
}

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

const NUMBER = String.raw`\d{1,10}`;
const RELATION_FILE = String.raw`${NUMBER}(?:_(?:fsm|vm|init))?(?:\.\d{1,6})?`;
const DATABASE = String.raw`(?:base/${NUMBER}|pg_tblspc/${NUMBER}/PG_\d{1,3}_\d{6,12}/${NUMBER})`;
/** Version 17 made the names of some of these logs longer. */
const SEGMENT = '[0-9A-F]{4,15}';
const POSITION = '[0-9A-F]{1,8}';

/**
 * The names that PostgreSQL itself gives to files (versions 12 to 18: relpath.c, relmapper.c, slru.c, twophase.c,
 * rewriteheap.c, snapbuild.c, origin.c). Nothing else comes to a site: a library, say, that lies among them waits for
 * somebody to load it. What is not in the list, but could lie there (temporary files and caches, which
 * basebackup.c leaves out, too), is left out.
 */
const FILES = whole(
  VERSION_FILE,
  String.raw`(?:global|${DATABASE})/(?:${RELATION_FILE}|pg_filenode\.map)`,
  `${DATABASE}/${VERSION_FILE}`,
  `(?:pg_xact|pg_commit_ts|pg_multixact/members|pg_multixact/offsets)/${SEGMENT}`,
  'pg_twophase/[0-9A-F]{8,16}',
  'pg_logical/replorigin_checkpoint',
  String.raw`pg_logical/mappings/map-[0-9a-f]{1,8}-[0-9a-f]{1,8}-${POSITION}_${POSITION}-[0-9a-f]{1,8}-[0-9a-f]{1,8}`,
  String.raw`pg_logical/snapshots/${POSITION}-${POSITION}\.snap`,
);
const DIRECTORIES = whole(
  `(?:${[...COPIED].join('|')})`,
  DATABASE,
  String.raw`pg_tblspc/${NUMBER}(?:/PG_\d{1,3}_\d{6,12})?`,
  'pg_multixact/(?:members|offsets)',
  'pg_logical/(?:mappings|snapshots)',
);
const RELATION = /^(\d+)(_(?:fsm|vm|init))?(?:\.\d+)?$/;

function whole(...alternatives: string[]): RegExp {
  return new RegExp(`^(?:${alternatives.join('|')})$`);
}

/** Whether a file or directory may be part of a backup at all; {@link CONTROL_FILE} goes another way. */
export function belongsToBackup(path: string, kind: 'file' | 'directory'): boolean {
  return kind === 'file' ? FILES.test(path) : DIRECTORIES.test(path) || EMPTY.includes(path);
}

/**
 * Whether a path lies where a backup's files lie. There, what PostgreSQL did not name is only left out: a server's
 * directory may well hold a stray. Elsewhere it is an attempt to change how the server runs.
 */
export function liesInBackup(path: string): boolean {
  return path !== CONTROL_FILE && isCopiedDirectory(path.split('/')[0] ?? '');
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

import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { DomainError, ifPresent } from '#libs/platform/errors';
import { readPlain, renderConfiguration, withDirectory, type ServerIdentity } from '#libs/platform/postgres';

const HBA = 'mainstay-fenced-hba.conf';
const AUTO = 'postgresql.auto.conf';
const BEFORE = 'mainstay-before-fence.auto.conf';
const BEGIN = '# Fenced by Mainstay: a warm site has taken over. See mainstay-agent status.\n';

const NOBODY = `# Nobody gets into a fenced server.
local all all reject
local replication all reject
host all all all reject
host replication all all reject
`;

/**
 * Makes a data directory's server unable to write and closed to clients, however it is started: it comes up in recovery
 * (standby.signal) following nobody, and pg_hba.conf's place is taken by a file that refuses everybody. Both lie in the
 * data directory, and postgresql.auto.conf wins over the files of the distribution. Safe to repeat; durable when it
 * returns. The log (pg_wal) is not touched, and what stood in postgresql.auto.conf is kept beside it. Links that the
 * server's user put in the place of these files are replaced, not followed.
 *
 * @throws ForeignDirectoryError, and what the file system throws
 */
export async function closeServer(directory: string, identity: ServerIdentity): Promise<void> {
  // The place may be a link of the distribution's; what it leads to must be the server's own.
  await withDirectory(await realpath(directory), [], async (data) => {
    // A server may run as another user than the package's: it is the one whose directory this is.
    const { uid, gid } = await data.status();
    if (identity.switched && uid === 0) throw new ForeignDirectoryError(directory);
    const owner = { uid, gid, switched: identity.switched };
    // The signal file first: it alone already keeps the server from writing.
    await data.replace('standby.signal', '', owner);
    await data.replace(HBA, NOBODY, owner);
    const auto = (await ifPresent(readPlain(data.name(AUTO))))?.toString('utf8') ?? '';
    if (!auto.includes(BEGIN)) {
      await data.replace(BEFORE, auto, owner);
      const closed = renderConfiguration({
        hba_file: path.join(directory, HBA),
        primary_conninfo: '',
        primary_slot_name: '',
        restore_command: '',
        recovery_target_timeline: 'current',
        archive_mode: 'off',
      });
      const end = auto === '' || auto.endsWith('\n') ? '' : '\n';
      await data.replace(AUTO, `${auto}${end}${BEGIN}${closed}`, owner);
    }
    await data.sync();
  });
}

/** No server's directory is root's: its name leads somewhere else. */
class ForeignDirectoryError extends DomainError {
  constructor(directory: string) {
    super('precondition', 'fence.directory', "The server's data directory does not belong to the server's user.", {
      detail: directory,
    });
  }
}

/** Whether {@link closeServer} has been completed on this directory. */
export async function isClosed(directory: string): Promise<boolean> {
  const present = (file: string) =>
    stat(path.join(directory, file)).then(
      () => true,
      () => false,
    );
  // What cannot be looked at does not count as closed: it is closed once more, and that says what is wrong.
  const auto = await readPlain(path.join(directory, AUTO)).then(String, () => '');
  return auto.includes(BEGIN) && (await present('standby.signal')) && (await present(HBA));
}

import { open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { chownTo, renderConfiguration, type ServerIdentity } from '#libs/platform/postgres';

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
 * returns. The log (pg_wal) is not touched, and what stood in postgresql.auto.conf is kept beside it.
 */
export async function closeServer(directory: string, identity: ServerIdentity): Promise<void> {
  const own = async (file: string, text: string): Promise<void> => {
    const fresh = path.join(directory, `${file}.mainstay`);
    await writeFile(fresh, text, { mode: 0o600, flush: true });
    await chownTo(fresh, identity);
    await rename(fresh, path.join(directory, file));
  };
  // The signal file first: it alone already keeps the server from writing.
  await own('standby.signal', '');
  await own(HBA, NOBODY);
  const auto = await readFile(path.join(directory, AUTO), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  if (!auto.includes(BEGIN)) {
    await own(BEFORE, auto);
    const closed = renderConfiguration({
      hba_file: path.join(directory, HBA),
      primary_conninfo: '',
      primary_slot_name: '',
      restore_command: '',
      recovery_target_timeline: 'current',
      archive_mode: 'off',
    });
    await own(AUTO, `${auto}${auto === '' || auto.endsWith('\n') ? '' : '\n'}${BEGIN}${closed}`);
  }
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether {@link closeServer} has been completed on this directory. */
export async function isClosed(directory: string): Promise<boolean> {
  const present = (file: string) =>
    stat(path.join(directory, file)).then(
      () => true,
      () => false,
    );
  const auto = await readFile(path.join(directory, AUTO), 'utf8').catch(() => '');
  return auto.includes(BEGIN) && (await present('standby.signal')) && (await present(HBA));
}

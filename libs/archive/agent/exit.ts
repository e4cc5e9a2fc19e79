import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { keyId, type RepositoryAccess } from '#contracts/archive';
import { ifPresent } from '#libs/platform/errors';
import { DurableValue, writeDurably, type StateDirectory } from '#libs/sites/agent';
import { z } from 'zod';
import { CustomerKey } from './customer-key.js';
import { ArchiveWorkError } from './errors.js';
import { resticAddress } from './restic/repository.js';

const keptExit = z.strictObject({ exitId: z.uuid(), until: z.iso.datetime(), key: keyId.optional() });

/** What stock restic needs to take everything out, in files of mode 0600 on the agency's own machine. */
export interface Exit {
  readonly until: string;
  /** One line for a shell; `/srv/our-archive` is where it goes. */
  readonly command: string;
}

function filesOf(state: StateDirectory, workload: string) {
  const folder = path.join(path.dirname(state.workload(workload, 'x')), 'exit');
  const file = (name: string) => path.join(folder, name);
  return {
    folder,
    repository: file('repository'),
    password: file('password'),
    authority: file('authority.pem'),
    note: new DurableValue(file('exit.json'), keptExit),
  };
}

/**
 * Keeps a credential to read; a later one takes its place. The note comes last: with it, all of it is there.
 *
 * @throws ArchiveWorkError
 */
export async function keepExit(
  state: StateDirectory,
  workload: string,
  { exitId, access, until }: { exitId: string; access: RepositoryAccess; until: string },
): Promise<void> {
  const files = filesOf(state, workload);
  await mkdir(files.folder, { recursive: true, mode: 0o700 });
  const entry = await new CustomerKey(state, workload).choose(access);
  if (entry === undefined) {
    throw new ArchiveWorkError('password-missing', 'The agent holds no password of this archive.');
  }
  await writeDurably(files.repository, resticAddress(access));
  await writeDurably(files.password, entry.password);
  await writeDurably(files.authority, access.authority ?? '');
  await files.note.write({ exitId, until, ...(entry.hint === undefined ? {} : { key: entry.hint }) });
}

/** @returns undefined when no credential was handed to this machine, or with a password that was replaced since */
export async function readExit(state: StateDirectory, workload: string): Promise<Exit | undefined> {
  const { repository, password, authority, note } = filesOf(state, workload);
  const kept = await note.read();
  if (!kept) return undefined;
  const held = await new CustomerKey(state, workload).read();
  if (held && held.password !== (await ifPresent(readFile(password, 'utf8')))) return undefined;
  const quoted = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const from =
    `--cacert ${quoted(authority)} --from-repository-file ${quoted(repository)} ` +
    `--from-password-file ${quoted(password)}${kept.key === undefined ? '' : ` --from-key-hint ${kept.key}`}`;
  const to = `--repo /srv/our-archive --password-file ${quoted(password)}`;
  return { until: kept.until, command: `restic init ${to} ${from} --copy-chunker-params && restic copy ${to} ${from}` };
}

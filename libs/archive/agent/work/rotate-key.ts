import { randomUUID } from 'node:crypto';
import type { StateDirectory } from '#libs/sites/agent';
import { CustomerKey, newPassword } from '../customer-key.js';
import { ArchiveWorkError } from '../errors.js';
import { NOTHING, type Outcome, type WorkAtHand } from './outcome.js';

/** restic notes user and host with each key: by a host that nobody can foresee we find the one that we have added. */
const USER = 'mainstay';

/**
 * A new password of the agency's, in the place of the one before. Whatever dies meanwhile, what lies on this machine's disk
 * opens the repository: the new one takes its place once it was seen to open it, and the site removes the old key after it
 * has heard of that. A key that an attempt before has added goes with the old one.
 *
 * @throws ArchiveWorkError
 */
export async function rotateKey(
  { repository, workload }: WorkAtHand,
  rotationId: string,
  state: StateDirectory,
): Promise<Outcome> {
  const own = new CustomerKey(state, workload.name);
  const held = await own.read();
  if (!held) throw new ArchiveWorkError('password-missing', 'The agent holds no password of this archive.');
  if (held.rotation === rotationId && held.key !== undefined) {
    await repository.require(['cat', 'config'], { unlocked: true });
    return { ...NOTHING, state: 'completed', key: held.key };
  }
  const password = newPassword();
  const file = await repository.writePassword('new-password', password);
  const host = randomUUID();
  await repository.require(['key', 'add', `--new-password-file=${file}`, `--user=${USER}`, `--host=${host}`]);
  const key = (await repository.keys()).find(({ hostName }) => hostName === host)?.id;
  repository.signal.throwIfAborted();
  if (key === undefined) throw new ArchiveWorkError('key-not-added', 'The vault does not show the new key.');
  await repository.require(['cat', 'config'], { unlocked: true, by: { file, key } });
  await own.replace(password, key, rotationId);
  return { ...NOTHING, state: 'completed', key };
}

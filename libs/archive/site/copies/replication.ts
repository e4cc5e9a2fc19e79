import { type ObjectName, type ObjectType } from '../vault/object-names.js';
import type { VaultObjects } from '../vault/vault-objects.js';
import type { Pace } from '../vault/pace.js';
import type { RemoteVault } from './remote-vault.js';

/** What needs others comes after them: whenever the line breaks, every snapshot that is there can be restored. */
const ORDER = ['keys', 'data', 'index', 'snapshots'] as const satisfies readonly ObjectType[];
const AT_ONCE = 4;

type NamedObject = Exclude<ObjectName, { type: 'config' }>;

export interface Missing {
  readonly name: NamedObject;
  readonly bytes: number;
}

export interface SendingHooks {
  /** An object here is not what its name says, so the other site did not take it. */
  readonly damaged: (name: NamedObject) => Promise<void>;
  readonly sent: (bytes: number) => void;
}

/**
 * What the copy lacks, in the order in which it is sent. What is here is listed the other way round: a snapshot that is in
 * the list has all of its packs in it, too, whatever comes in meanwhile.
 */
export async function missingFrom(
  copy: RemoteVault,
  objects: VaultObjects,
  repository: string,
  signal: AbortSignal,
): Promise<readonly Missing[]> {
  const missing = new Map<ObjectType, Missing[]>();
  for (const type of [...ORDER].reverse()) {
    const here: Missing[] = [];
    for await (const { id, bytes } of objects.list(repository, type)) here.push({ name: { type, id }, bytes });
    missing.set(type, here);
  }
  for (const type of ORDER) {
    const there = await copy.list(type, signal);
    missing.set(
      type,
      (missing.get(type) ?? []).filter(({ name }) => !there.has(name.id)),
    );
  }
  return ORDER.flatMap((type) => missing.get(type) ?? []);
}

/**
 * Sends them, some at a time, and each kind only once the one before is there. Whatever breaks off is begun again by the
 * next look: what has arrived is not sent twice.
 *
 * @throws RemoteVaultError and the line's own errors; then nothing more is sent
 */
export async function sendAll(
  copy: RemoteVault,
  objects: VaultObjects,
  repository: string,
  missing: readonly Missing[],
  { pace, signal, hooks }: { readonly pace: Pace; readonly signal: AbortSignal; readonly hooks: SendingHooks },
): Promise<void> {
  await sendConfig(copy, objects, repository, signal);
  for (const type of ORDER) {
    const waiting = missing.filter(({ name }) => name.type === type);
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const send = async (): Promise<void> => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        either.throwIfAborted();
        await sendOne(copy, objects, repository, next, { pace, signal: either, hooks });
      }
    };
    const senders = Array.from({ length: AT_ONCE }, () =>
      send().catch((error: unknown) => {
        over.abort(error);
        throw error;
      }),
    );
    const failed = (await Promise.allSettled(senders)).find((outcome) => outcome.status === 'rejected');
    if (failed) throw over.signal.reason;
  }
}

async function sendConfig(
  copy: RemoteVault,
  objects: VaultObjects,
  repository: string,
  signal: AbortSignal,
): Promise<void> {
  const name = { type: 'config' } as const;
  const config = await objects.stat(repository, name);
  await copy.create(signal);
  if (!config || (await copy.has(name, signal))) return;
  await copy.write(name, config.bytes, await objects.read(repository, name), signal);
}

async function sendOne(
  copy: RemoteVault,
  objects: VaultObjects,
  repository: string,
  { name, bytes }: Missing,
  { pace, signal, hooks }: { readonly pace: Pace; readonly signal: AbortSignal; readonly hooks: SendingHooks },
): Promise<void> {
  const present = await objects.stat(repository, name);
  // Pruned since it was listed.
  if (!present) return;
  const body = await objects.read(repository, name);
  const paced = pace.through(signal);
  body.on('error', (error) => paced.destroy(error));
  try {
    await copy.write(name, present.bytes, body.pipe(paced), signal);
    hooks.sent(bytes);
  } catch (error) {
    // The other site hashes what it gets, and takes nothing that is damaged here.
    if ((await objects.look(repository, name)) !== 'damaged') throw error;
    await hooks.damaged(name);
  } finally {
    body.destroy();
  }
}

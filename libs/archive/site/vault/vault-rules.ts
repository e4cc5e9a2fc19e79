import type { ObjectName } from './object-names.js';

/**
 * What a credential is for. `append`: an agency's agent; adds, and takes nothing away but its own locks. `write`: the same
 * without a look into what was stored, for streams, which restic compares with nothing. `read`: restores and leaving.
 * `maintain`: forget and prune, only under a maintenance lease and only past the retention lock.
 */
export const VAULT_ROLES = ['append', 'write', 'read', 'maintain'] as const;
export type VaultRole = (typeof VAULT_ROLES)[number];

export type VaultAct = 'read' | 'add' | 'remove';

/** Packs hold what was archived; locks are work in progress; all else says what there is and how it opens. */
type Kind = 'packs' | 'locks' | 'records';

/** Every role may take a lock, since stock restic does so even to read. */
const LOCKS: readonly VaultAct[] = ['read', 'add', 'remove'];
const ACTS: Readonly<Record<VaultRole, Readonly<Record<Kind, readonly VaultAct[]>>>> = {
  append: { packs: ['read', 'add'], records: ['read', 'add'], locks: LOCKS },
  write: { packs: ['add'], records: ['read', 'add'], locks: LOCKS },
  read: { packs: ['read'], records: ['read'], locks: LOCKS },
  maintain: { packs: ['read', 'add', 'remove'], records: ['read', 'add', 'remove'], locks: LOCKS },
};

/** Whether the role may do this at all; locks, leases and holds may still forbid it. */
export function mayAct(role: VaultRole, act: VaultAct, { type }: Pick<ObjectName, 'type'>): boolean {
  return ACTS[role][type === 'data' ? 'packs' : type === 'locks' ? 'locks' : 'records'].includes(act);
}

/** restic's packs end at 128 MiB; an index of a very large repository stays below too. */
export const OBJECT_BYTES_MAX = 512 * 1024 * 1024;

/** restic takes a lock that was not refreshed for so long as stale (restic: internal/restic/lock.go). */
export const LOCK_STALE_SECONDS = 30 * 60;

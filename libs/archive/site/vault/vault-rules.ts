import type { ObjectName } from './object-names.js';

/**
 * What a credential is for. `append`: an agency's agent; adds, and takes nothing away but its own locks. `read`: restores
 * and leaving. `maintain`: forget and prune, only under a maintenance lease and only past the retention lock.
 */
export const VAULT_ROLES = ['append', 'read', 'maintain'] as const;
export type VaultRole = (typeof VAULT_ROLES)[number];

export type VaultAct = 'read' | 'add' | 'remove';

/** Locks are work in progress, not data: every role may take one, since stock restic does so even to read. */
const ACTS: Readonly<
  Record<VaultRole, { readonly objects: readonly VaultAct[]; readonly locks: readonly VaultAct[] }>
> = {
  append: { objects: ['read', 'add'], locks: ['read', 'add', 'remove'] },
  read: { objects: ['read'], locks: ['read', 'add', 'remove'] },
  maintain: { objects: ['read', 'add', 'remove'], locks: ['read', 'add', 'remove'] },
};

/** Whether the role may do this at all; locks, leases and holds may still forbid it. */
export function mayAct(role: VaultRole, act: VaultAct, name: Pick<ObjectName, 'type'>): boolean {
  return ACTS[role][name.type === 'locks' ? 'locks' : 'objects'].includes(act);
}

/** restic's packs end at 128 MiB; an index of a very large repository stays below too. */
export const OBJECT_BYTES_MAX = 512 * 1024 * 1024;

/** restic takes a lock that was not refreshed for so long as stale (restic: internal/restic/lock.go). */
export const LOCK_STALE_SECONDS = 30 * 60;

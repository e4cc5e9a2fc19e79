import type { VaultRole } from './vault-rules.js';

/** Whose request it is. */
export interface VaultCaller {
  readonly credentialId: string;
  readonly repository: string;
  readonly role: VaultRole;
  /** Of the repository, in each direction; null: as fast as it goes. */
  readonly bytesPerSecond: number | null;
}

/** What holds for a repository at this moment. */
export interface RepositoryTerms {
  /** Null: none. */
  readonly quotaBytes: number | null;
  /** Nothing is removed before it is so old, by its time of receipt. */
  readonly minimumAgeSeconds: number;
  /** A legal hold, or a pause of retention: nothing is removed at all. Its reason, for people. */
  readonly heldBecause: string | null;
  /** The credential that may remove now; null: nobody. While it lasts, nobody else takes a lock. */
  readonly maintainedBy: string | null;
}

/** What was tried: to take an object away, to put others bytes in its place, to end somebody else's lock. */
export const REFUSAL_KINDS = ['removal', 'replacement', 'unlock'] as const;
export type RefusalKind = (typeof REFUSAL_KINDS)[number];

/** What the vault must know and remember beside the bytes. Kept in the site's database. */
export interface VaultLedger {
  /** Undefined for a wrong secret, a credential that has ended, and one of another repository alike. */
  caller(repository: string, credentialId: string, secret: string): Promise<VaultCaller | undefined>;
  terms(repository: string): Promise<RepositoryTerms>;
  lockTaken(caller: VaultCaller, lockId: string): Promise<void>;
  ownsLock(caller: VaultCaller, lockId: string): Promise<boolean>;
  lockGone(repository: string, lockId: string): Promise<void>;
  /** A recovery point has arrived. Called after it is durable and before it is answered; safe to repeat. */
  snapshotReceived(caller: VaultCaller, snapshotId: string, receivedAt: Date): Promise<void>;
  /** Somebody tried to remove, or to change, what must not be: a signal for the detection of mass changes. */
  refused(caller: VaultCaller, kind: RefusalKind, what: string): Promise<void>;
}

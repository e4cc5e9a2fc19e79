import type { VaultCaller, VaultLedger } from './ledger.js';
import { objectLabel, type ObjectName } from './object-names.js';
import { RemovalsUnderWay } from './removals-under-way.js';
import type { RepositoryUsage } from './repository-usage.js';
import type { VaultStorage } from './storage.js';
import { NotAllowedError } from './vault.errors.js';
import { LOCK_STALE_SECONDS } from './vault-rules.js';

/**
 * Takes objects away, as far as retention, holds and leases let it. The role has been checked before. All but locks are laid
 * aside: a credential in wrong hands takes nothing away for good.
 */
export class Removals {
  readonly underWay = new RemovalsUnderWay();

  constructor(
    private readonly storage: VaultStorage,
    private readonly ledger: VaultLedger,
    private readonly usage: RepositoryUsage,
    private readonly now: () => Date,
  ) {}

  /** Safe to repeat. @throws NotAllowedError with the reason, and when it would be allowed. */
  async remove(caller: VaultCaller, name: ObjectName): Promise<void> {
    // Before anything is checked: it may take minutes.
    await this.usage.counted(caller.repository);
    // From before the checks on: who takes the lease away waits for those that had passed them.
    await this.underWay.run(caller.repository, () => this.checkAndRemove(caller, name));
  }

  private async checkAndRemove(caller: VaultCaller, name: ObjectName): Promise<void> {
    const object = await this.storage.stat(caller.repository, name);
    if (!object) return;
    const ageSeconds = (this.now().getTime() - object.receivedAt.getTime()) / 1_000;
    if (name.type === 'locks') await this.checkLock(caller, name.id, ageSeconds);
    else await this.checkObject(caller, name, object.receivedAt, ageSeconds);
    // It takes as much room as before.
    if (name.type !== 'locks') await this.storage.layAside(caller.repository, name, this.now());
    else await this.removeLock(caller.repository, name.id, object.bytes);
  }

  private async removeLock(repository: string, id: string, bytes: number): Promise<void> {
    if (await this.storage.remove(repository, { type: 'locks', id })) await this.usage.removed(repository, bytes);
    await this.ledger.lockGone(repository, id);
  }

  /** Otherwise a stolen credential could unlock the pruner, and writers would meet it (facts: locks). */
  private async checkLock(caller: VaultCaller, lockId: string, ageSeconds: number): Promise<void> {
    if (ageSeconds >= LOCK_STALE_SECONDS || (await this.ledger.ownsLock(caller, lockId))) return;
    await this.refuse(caller, { type: 'locks', id: lockId }, "This lock is another credential's, and is in use.");
  }

  private async checkObject(
    caller: VaultCaller,
    name: ObjectName,
    receivedAt: Date,
    ageSeconds: number,
  ): Promise<void> {
    const terms = await this.ledger.terms(caller.repository);
    if (terms.maintainedBy !== caller.credentialId) {
      await this.refuse(caller, name, 'Only the holder of the maintenance lease removes objects.');
    }
    if (terms.heldBecause !== null) await this.refuse(caller, name, `Nothing is removed: ${terms.heldBecause}.`);
    // An index says again what each pack says of itself at its end (restic: doc/design.rst, "Pack Format"); `restic repair
    // index` makes it anew. prune writes other ones each time and must take the old ones away before it takes packs: it
    // would otherwise fail each day, and the index would name packs that are gone.
    if (name.type === 'index') return;
    // A file that seems to come from the future was received before this machine's clock was set back: it is new.
    if (ageSeconds < terms.minimumAgeSeconds) {
      const until = new Date(receivedAt.getTime() + terms.minimumAgeSeconds * 1_000).toISOString();
      await this.refuse(caller, name, `Retained until ${until}.`);
    }
  }

  private async refuse(caller: VaultCaller, name: ObjectName, why: string): Promise<never> {
    await this.ledger.refused(caller, name.type === 'locks' ? 'unlock' : 'removal', `${objectLabel(name)}: ${why}`);
    throw new NotAllowedError(why);
  }
}

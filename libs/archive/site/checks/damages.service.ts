import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { CopySite } from '../copies/copy-site.js';
import { isObjectId, isObjectType, objectLabel, type ObjectName } from '../vault/object-names.js';
import { VaultService } from '../vault/vault.module.js';

type NamedObject = Exclude<ObjectName, { type: 'config' }>;
/** `gone`: a second copy's object was bad, and is laid aside, so that the first site sends it again. */
export type DamageOutcome = 'sound' | 'repaired' | 'damaged' | 'gone';

/** An object that cannot be read, and of which there is no second copy that could be. */
export class DamagedObjectError extends DomainError {
  constructor(name: NamedObject) {
    super('internal', 'archive.damaged', `The object ${objectLabel(name)} is damaged, and could not be repaired.`);
  }
}

const REPAIR_MS = 30 * 60_000;

/** Objects that do not hash to their names: written down, told, and put right from the second copy where there is one. */
@Injectable()
export class Damages implements OnApplicationBootstrap {
  private readonly under = new Map<string, Promise<DamageOutcome>>();
  private readonly watchers = new Map<
    symbol,
    { readonly repositoryId: string; readonly heard: (name: NamedObject) => void }
  >();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly vault: VaultService,
    private readonly copies: CopySite,
    private readonly logger: AppLogger,
  ) {}

  onApplicationBootstrap(): void {
    // A restore that meets one goes on by itself once it is repaired: the vault answers 500, and restic asks again.
    this.vault.onDamaged((repositoryId, name) => {
      if (name.type === 'config') return;
      this.found(repositoryId, name).catch((error: unknown) =>
        this.logger.log.error({ repositoryId, object: objectLabel(name), reason: errorText(error) }, 'not repaired'),
      );
    });
  }

  /**
   * Runs `work`, and aborts its signal with a DamagedObjectError when the repository turns out to hold something that nobody
   * can repair: restic would go on asking for it for a quarter of an hour.
   */
  async watched<T>(repositoryId: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const damaged = new AbortController();
    const key = Symbol(repositoryId);
    this.watchers.set(key, { repositoryId, heard: (name) => damaged.abort(new DamagedObjectError(name)) });
    try {
      return await work(AbortSignal.any([signal, damaged.signal]));
    } finally {
      this.watchers.delete(key);
    }
  }

  /** Looks at the object itself first, so it may be called on a suspicion. One at a time for each object. */
  found(repositoryId: string, name: NamedObject): Promise<DamageOutcome> {
    const key = `${repositoryId}/${objectLabel(name)}`;
    const present = this.under.get(key);
    if (present) return present;
    const working = this.lookAt(repositoryId, name)
      .then((outcome) => {
        if (outcome === 'damaged') this.tellWatchers(repositoryId, name);
        return outcome;
      })
      .finally(() => this.under.delete(key));
    this.under.set(key, working);
    return working;
  }

  /** Those that could not be repaired before. @returns how many are still damaged */
  async again(archiveId: string): Promise<number> {
    let damaged = 0;
    for (const name of await this.unrepaired(archiveId)) {
      if ((await this.found(archiveId, name)) === 'damaged') damaged += 1;
    }
    return damaged;
  }

  /**
   * Runs what takes objects away by the vault's rules: nobody needs those any more, so a damaged one that went is no damage,
   * and is not brought back from the second copy.
   */
  async whileRemoving<T>(archiveId: string, work: () => Promise<T>): Promise<T> {
    const { objects } = this.vault;
    const before: NamedObject[] = [];
    for (const name of await this.unrepaired(archiveId)) if (await objects.stat(archiveId, name)) before.push(name);
    try {
      return await work();
    } finally {
      for (const name of before) if (!(await objects.stat(archiveId, name))) await this.unmark(archiveId, name);
    }
  }

  private async unrepaired(archiveId: string): Promise<readonly NamedObject[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ object: string }>(`SELECT object FROM archive_damage WHERE archive_id = $1 AND repaired_at IS NULL`, [
        archiveId,
      ]),
    );
    return rows.flatMap(({ object }) => objectNamed(object) ?? []);
  }

  private async unmark(archiveId: string, name: NamedObject): Promise<void> {
    await this.work.run(async (tx) => {
      await tx.execute(`DELETE FROM archive_damage WHERE archive_id = $1 AND object = $2`, [
        archiveId,
        objectLabel(name),
      ]);
      await this.archives.tell(tx, archiveId);
    });
  }

  private tellWatchers(repositoryId: string, name: NamedObject): void {
    for (const watcher of this.watchers.values()) if (watcher.repositoryId === repositoryId) watcher.heard(name);
  }

  private async lookAt(repositoryId: string, name: NamedObject): Promise<DamageOutcome> {
    const { objects } = this.vault;
    const archive = await this.work.run((tx) => this.archives.find(tx, repositoryId));
    const state = await objects.look(repositoryId, name);
    if (!archive) {
      if (state !== 'damaged') return 'sound';
      await this.vault.removed.layDamagedAside(repositoryId, name);
      return 'gone';
    }
    if (state === 'sound') {
      await this.mark(archive, name, true);
      return 'sound';
    }
    await this.mark(archive, name, false);
    if (archive.second === null) return 'damaged';
    try {
      const signal = AbortSignal.timeout(REPAIR_MS);
      await this.copies.with(archive, signal, async (copy) =>
        objects.mend(repositoryId, name, await copy.read(name, signal)),
      );
    } catch (error) {
      const object = objectLabel(name);
      this.logger.log.error({ archiveId: repositoryId, object, reason: errorText(error) }, 'not repaired yet');
      return 'damaged';
    }
    await this.mark(archive, name, true);
    return 'repaired';
  }

  private async mark(archive: ArchiveRow, name: NamedObject, repaired: boolean): Promise<void> {
    const object = objectLabel(name);
    const { archiveId } = archive;
    await this.work.run(async (tx) => {
      const changed = repaired
        ? await tx.execute(
            `UPDATE archive_damage SET repaired_at = clock_timestamp()
              WHERE archive_id = $1 AND object = $2 AND repaired_at IS NULL`,
            [archiveId, object],
          )
        : await tx.execute(
            `INSERT INTO archive_damage (archive_id, object) VALUES ($1, $2)
             ON CONFLICT (archive_id, object) DO UPDATE SET found_at = clock_timestamp(), repaired_at = NULL
               WHERE archive_damage.repaired_at IS NOT NULL`,
            [archiveId, object],
          );
      if (changed > 0) await this.archives.tell(tx, archiveId);
    });
  }
}

function objectNamed(label: string): NamedObject | undefined {
  const [type = '', id = ''] = label.split('/');
  return isObjectType(type) && isObjectId(id) ? { type, id } : undefined;
}
